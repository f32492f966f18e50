"""The calls that answer, as functions: the methods of the default client. Imported by the first of them."""

from __future__ import annotations

from lotus_durable.calls import access, addons, credit, customers, plans, service, subscriptions
from lotus_durable.calls.binding import function

ping = function(service.ping)
verify_idems_received = function(service.verify_idems_received)

create_customer = function(customers.create_customer)
list_customers = function(customers.list_customers)
get_customer = function(customers.get_customer)

list_plans = function(plans.list_plans)
get_plan = function(plans.get_plan)

create_subscription = function(subscriptions.create_subscription)
cancel_subscription = function(subscriptions.cancel_subscription)
list_subscriptions = function(subscriptions.list_subscriptions)
update_subscription = function(subscriptions.update_subscription)
switch_subscription_plan = function(subscriptions.switch_subscription_plan)
attach_addon = function(addons.attach_addon)
cancel_addon = function(addons.cancel_addon)

list_credits = function(credit.list_credits)
create_credit = function(credit.create_credit)
update_credit = function(credit.update_credit)
void_credit = function(credit.void_credit)

get_customer_access = function(access.get_customer_access)
get_customer_metric_access = function(access.get_customer_metric_access)
get_customer_feature_access = function(access.get_customer_feature_access)
check_metric_access = function(access.check_metric_access)
check_feature_access = function(access.check_feature_access)
