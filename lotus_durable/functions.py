"""The calls that answer, as functions: the methods of the default client. Imported by the first of them."""

from __future__ import annotations

from typing import Final

from lotus_durable.calls import access, addons, credit, customers, plans, service, subscription_changes, subscriptions
from lotus_durable.calls.binding import function as bound
from lotus_durable.settings import client

ping: Final = bound(service.ping, client)
verify_idems_received: Final = bound(service.verify_idems_received, client)

create_customer: Final = bound(customers.create_customer, client)
list_customers: Final = bound(customers.list_customers, client)
get_customer: Final = bound(customers.get_customer, client)

list_plans: Final = bound(plans.list_plans, client)
get_plan: Final = bound(plans.get_plan, client)

create_subscription: Final = bound(subscriptions.create_subscription, client)
cancel_subscription: Final = bound(subscriptions.cancel_subscription, client)
list_subscriptions: Final = bound(subscriptions.list_subscriptions, client)
update_subscription: Final = bound(subscription_changes.update_subscription, client)
switch_subscription_plan: Final = bound(subscription_changes.switch_subscription_plan, client)
attach_addon: Final = bound(addons.attach_addon, client)
cancel_addon: Final = bound(addons.cancel_addon, client)

list_credits: Final = bound(credit.list_credits, client)
create_credit: Final = bound(credit.create_credit, client)
update_credit: Final = bound(credit.update_credit, client)
void_credit: Final = bound(credit.void_credit, client)

get_customer_access: Final = bound(access.get_customer_access, client)
get_customer_metric_access: Final = bound(access.get_customer_metric_access, client)
get_customer_feature_access: Final = bound(access.get_customer_feature_access, client)
check_metric_access: Final = bound(access.check_metric_access, client)
check_feature_access: Final = bound(access.check_feature_access, client)
