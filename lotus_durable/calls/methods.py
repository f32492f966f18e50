"""The calls that answer, as methods of the client."""

from __future__ import annotations

from . import access, addons, credit, customers, plans, service, subscription_changes, subscriptions
from .binding import HasCaller, method
from .caller import Caller


class Calls(HasCaller):
    """What :class:`lotus_durable.Client` can ask the server."""

    def caller(self) -> Caller:
        """Return what makes calls in this process."""
        raise NotImplementedError

    ping = method(service.ping)
    verify_idems_received = method(service.verify_idems_received)
    create_customer = method(customers.create_customer)
    list_customers = method(customers.list_customers)
    get_customer = method(customers.get_customer)
    list_plans = method(plans.list_plans)
    get_plan = method(plans.get_plan)
    create_subscription = method(subscriptions.create_subscription)
    cancel_subscription = method(subscriptions.cancel_subscription)
    list_subscriptions = method(subscriptions.list_subscriptions)
    update_subscription = method(subscription_changes.update_subscription)
    switch_subscription_plan = method(subscription_changes.switch_subscription_plan)
    attach_addon = method(addons.attach_addon)
    cancel_addon = method(addons.cancel_addon)
    list_credits = method(credit.list_credits)
    create_credit = method(credit.create_credit)
    update_credit = method(credit.update_credit)
    void_credit = method(credit.void_credit)
    get_customer_access = method(access.get_customer_access)
    get_customer_metric_access = method(access.get_customer_metric_access)
    get_customer_feature_access = method(access.get_customer_feature_access)
    check_metric_access = method(access.check_metric_access)
    check_feature_access = method(access.check_feature_access)
