"""What the calls return: its shapes, as types for your own annotations, and its numbers, exact.

The shapes are the server's JSON objects as plain dicts: fields that are not named here are kept, and any that is named
may be missing, because the servers of 2022 and 2024 differ, and so does each version between and after them. Money and
limits are ``Decimal``, with the digits that the server sent: they come as JSON numbers (``"amount": 10.5``), a float
would be another number, and sums of floats are not sums of money. Times are RFC 3339 text.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, TypedDict

from lotus_durable.http.answer import NOT_JSON, Answer, json_value

from .arguments import SubscriptionFilter


class Ping(TypedDict, total=False):
    """The answer of ``ping``."""

    organization_id: str


class VerifiedIds(TypedDict, total=False):
    """The answer of ``verify_idems_received``."""

    status: Literal["success"]
    ids_not_found: list[str]


class Customer(TypedDict, total=False):
    """A customer. The server of 2022 knows ``customer_id``, ``name`` and ``balance``."""

    customer_id: str
    name: str
    balance: Decimal
    customer_name: str | None
    email: str | None
    invoices: list[dict[str, Any]]
    total_amount_due: Decimal
    subscriptions: list[Subscription]
    integrations: dict[str, Any]
    default_currency: dict[str, Any]
    payment_provider: str | None
    payment_provider_id: str | None
    has_payment_method: bool
    address: dict[str, Any] | None
    billing_address: dict[str, Any] | None
    shipping_address: dict[str, Any] | None
    tax_rate: Decimal | None
    timezone: str


class Subscription(TypedDict, total=False):
    """A subscription.

    The server of 2022 knows ``subscription_uid``, ``customer_id``, ``billing_plan_id``, ``start_date`` and
    ``end_date`` (days), ``status``, ``auto_renew`` and ``is_new``. What it says to a cancellation is ``status`` and
    ``detail``.
    """

    subscription_id: str
    subscription_uid: str
    customer_id: str
    billing_plan_id: str
    customer: dict[str, Any]
    billing_plan: dict[str, Any]
    start_date: str
    end_date: str
    auto_renew: bool
    is_new: bool
    status: str
    detail: str
    subscription_filters: list[SubscriptionFilter]
    fully_billed: bool
    addons: list[dict[str, Any]]
    metadata: dict[str, Any]


class AddonSubscription(TypedDict, total=False):
    """An add-on attached to a subscription."""

    addon_subscription_id: str
    customer: dict[str, Any]
    addon: dict[str, Any]
    parent: dict[str, Any]
    start_date: str
    end_date: str
    auto_renew: bool
    fully_billed: bool
    metadata: dict[str, Any]


class Credit(TypedDict, total=False):
    """Money a customer has in advance."""

    credit_id: str
    customer: dict[str, Any]
    amount: Decimal
    amount_remaining: Decimal
    currency: dict[str, Any]
    description: str | None
    effective_at: str
    expires_at: str | None
    status: Literal["active", "inactive"]
    amount_paid: Decimal
    amount_paid_currency: dict[str, Any] | None
    drawdowns: list[dict[str, Any]]


class Plan(TypedDict, total=False):
    """A plan. The server of 2022 calls its id ``billing_plan_id`` and its name ``name``, and has no versions."""

    plan_id: str
    plan_name: str
    plan_duration: str
    plan_description: str | None
    display_version: dict[str, Any]
    versions: list[dict[str, Any]]
    num_versions: int
    active_version: int
    active_subscriptions: int
    tags: list[dict[str, Any]]
    parent_plan: dict[str, Any] | None
    target_customer: dict[str, Any] | None
    status: str
    billing_plan_id: str
    name: str
    components: list[dict[str, Any]]
    features: list[dict[str, Any]]


class MetricAccessOfPlan(TypedDict, total=False):
    """One of the answers of ``get_customer_metric_access``: one for each active subscription."""

    plan_id: str
    subscription_filters: list[SubscriptionFilter]
    usage_per_component: list[dict[str, Any]]


class FeatureAccessOfPlan(TypedDict, total=False):
    """One of the answers of ``get_customer_feature_access``: one for each active subscription."""

    feature_name: str
    plan_id: str
    subscription_filters: list[SubscriptionFilter]
    access: bool


class MetricAccess(TypedDict, total=False):
    """The answer of ``check_metric_access``."""

    customer: dict[str, Any]
    access: bool
    metric: dict[str, Any]
    access_per_subscription: list[dict[str, Any]]


class FeatureAccess(TypedDict, total=False):
    """The answer of ``check_feature_access``."""

    customer: dict[str, Any]
    access: bool
    feature: dict[str, Any]
    access_per_subscription: list[dict[str, Any]]


_MONEY: Final = frozenset({
    "amount", "amount_paid", "amount_remaining", "balance", "cost_per_batch", "flat_rate", "free_metric_units",
    "max_metric_units", "metric_free_limit", "metric_total_limit", "metric_units_per_batch", "metric_usage", "tax_rate",
    "total_amount_due",
})  # fmt: skip
"""Fields that are a ``Decimal`` also where a server sends a whole number, or text."""


def exact_value(answer: Answer) -> object:
    """Return an answer's JSON value with its numbers exact, or ``NOT_JSON``; raises nothing."""
    try:
        return _exact(json_value(answer, fraction=Decimal))
    except RecursionError:
        return NOT_JSON


def _exact(value: object, field: str = "") -> object:
    if isinstance(value, dict):
        return {name: _exact(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_exact(one) for one in value]
    if field in _MONEY and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except InvalidOperation:
            return value
        return number if number.is_finite() else value
    return value
