"""Binding the calls to the client by the first use of one: a process that only tracks imports none of their modules."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = (
    "ping",
    "verify_idems_received",
    "create_customer",
    "list_customers",
    "get_customer",
    "list_plans",
    "get_plan",
    "create_subscription",
    "cancel_subscription",
    "list_subscriptions",
    "update_subscription",
    "switch_subscription_plan",
    "attach_addon",
    "cancel_addon",
    "list_credits",
    "create_credit",
    "update_credit",
    "void_credit",
    "get_customer_access",
    "get_customer_metric_access",
    "get_customer_feature_access",
    "check_metric_access",
    "check_feature_access",
)


class _Unbound:
    """Stands in a class in the place of a call until that is used, looked at, or documented."""

    def __init__(self, name: str, owner: type) -> None:
        self._name = name
        self._owner = owner

    def __get__(self, instance: object, owner: type | None = None) -> Any:  # noqa: ANN401  # a call
        from .methods import Calls

        for name in NAMES:
            setattr(self._owner, name, vars(Calls)[name])
        return getattr(owner if instance is None else instance, self._name)


def bind_calls(owner: type) -> None:
    """Give a class the calls as methods."""
    for name in NAMES:
        setattr(owner, name, _Unbound(name, owner))
