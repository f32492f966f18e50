"""The calls that answer, as functions: the methods of the default client. Imported by the first of them."""

from __future__ import annotations

from lotus_durable.calls import access, addons, credit, customers, plans, service, subscription_changes, subscriptions
from lotus_durable.calls.binding import function as bound
from lotus_durable.settings import client

ping = bound(service.ping, client)
verify_idems_received = bound(service.verify_idems_received, client)

create_customer = bound(customers.create_customer, client)
list_customers = bound(customers.list_customers, client)
get_customer = bound(customers.get_customer, client)

list_plans = bound(plans.list_plans, client)
get_plan = bound(plans.get_plan, client)

create_subscription = bound(subscriptions.create_subscription, client)
cancel_subscription = bound(subscriptions.cancel_subscription, client)
list_subscriptions = bound(subscriptions.list_subscriptions, client)
update_subscription = bound(subscription_changes.update_subscription, client)
switch_subscription_plan = bound(subscription_changes.switch_subscription_plan, client)
attach_addon = bound(addons.attach_addon, client)
cancel_addon = bound(addons.cancel_addon, client)

list_credits = bound(credit.list_credits, client)
create_credit = bound(credit.create_credit, client)
update_credit = bound(credit.update_credit, client)
void_credit = bound(credit.void_credit, client)

get_customer_access = bound(access.get_customer_access, client)
get_customer_metric_access = bound(access.get_customer_metric_access, client)
get_customer_feature_access = bound(access.get_customer_feature_access, client)
check_metric_access = bound(access.check_metric_access, client)
check_feature_access = bound(access.check_feature_access, client)
