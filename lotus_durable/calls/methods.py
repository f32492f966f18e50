"""The calls that answer, as methods of the client. Signature, types and docstring are written once, with the call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, TypeVar

from . import access, credit, customers, plans, service, subscription_changes, subscriptions
from .caller import Caller

P = ParamSpec("P")
R = TypeVar("R")


def method(call: Callable[Concatenate[Caller, P], R]) -> Callable[Concatenate[Calls, P], R]:
    """Return a call as a method of the client."""

    @functools.wraps(call)
    def answering(self: Calls, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return call(self.caller(), *args, **kwargs)

    # For help() and editors: what is called, not how it is made.
    signature = inspect.signature(call)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [itself, *list(signature.parameters.values())[1:]]
    shown = {"__signature__": signature.replace(parameters=parameters), "__qualname__": f"Client.{call.__name__}"}
    for name, value in shown.items():
        setattr(answering, name, value)
    return answering


class Calls:
    """What :class:`lotus_durable.Client` can ask the server."""

    def caller(self) -> Caller:
        """Return what makes calls in this process."""
        raise NotImplementedError

    ping: Final = method(service.ping)
    verify_idems_received: Final = method(service.verify_idems_received)
    create_customer: Final = method(customers.create_customer)
    list_customers: Final = method(customers.list_customers)
    get_customer: Final = method(customers.get_customer)
    list_plans: Final = method(plans.list_plans)
    get_plan: Final = method(plans.get_plan)
    create_subscription: Final = method(subscriptions.create_subscription)
    cancel_subscription: Final = method(subscriptions.cancel_subscription)
    list_subscriptions: Final = method(subscriptions.list_subscriptions)
    update_subscription: Final = method(subscription_changes.update_subscription)
    switch_subscription_plan: Final = method(subscription_changes.switch_subscription_plan)
    attach_addon: Final = method(subscription_changes.attach_addon)
    cancel_addon: Final = method(subscription_changes.cancel_addon)
    list_credits: Final = method(credit.list_credits)
    create_credit: Final = method(credit.create_credit)
    update_credit: Final = method(credit.update_credit)
    void_credit: Final = method(credit.void_credit)
    get_customer_access: Final = method(access.get_customer_access)
    get_customer_metric_access: Final = method(access.get_customer_metric_access)
    get_customer_feature_access: Final = method(access.get_customer_feature_access)
    check_metric_access: Final = method(access.check_metric_access)
    check_feature_access: Final = method(access.check_feature_access)
