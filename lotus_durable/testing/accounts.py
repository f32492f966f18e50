"""What the server knows beside events: customers, plans, subscriptions, credits. In memory only."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Duration = Literal["monthly", "quarterly", "yearly"]
MONTHS: dict[str, int] = {"monthly": 1, "quarterly": 3, "yearly": 12}
CURRENCIES = {"USD": ("US Dollar", "$"), "EUR": ("Euro", "€"), "GBP": ("Pound", "£"), "JPY": ("Yen", "¥")}


def new_id(prefix: str) -> str:
    """Return an id as L24 makes them."""
    return prefix + uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Component:
    """A metered part of a plan.

    Attributes:
        event_name: the events it counts.
        limit: the usage at which access ends; None has no limit.
        free_limit: how much of it costs nothing; None for no free part.
        property_name: None counts events; else the numbers in this property are summed.
    """

    event_name: str
    limit: float | None = None
    free_limit: float | None = None
    property_name: str | None = None
    metric_name: str = ""
    metric_id: str = field(default_factory=lambda: new_id("metric_"))

    @property
    def name(self) -> str:
        """The metric's name, made from the event's when it was given none."""
        return self.metric_name or (
            f"sum of {self.property_name} of {self.event_name}" if self.property_name else f"count of {self.event_name}"
        )


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a plan gives access to."""

    feature_name: str
    feature_id: str = field(default_factory=lambda: new_id("feature_"))
    feature_description: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, or an add-on, with its one version."""

    plan_name: str
    plan_id: str
    version_id: str
    components: tuple[Component, ...] = ()
    features: tuple[Feature, ...] = ()
    duration: Duration = "monthly"
    currency: str = "USD"
    tags: tuple[str, ...] = ()
    is_addon: bool = False


@dataclass(slots=True)
class Customer:
    """A customer; ``email`` is None on L22."""

    customer_id: str
    name: str | None = None
    email: str | None = None
    currency: str = "USD"
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Subscription:
    """A customer's subscription to a plan, or the attachment of an add-on to one (then it has a ``parent``).

    ``status`` is L22's stored word; on L24 the dates alone say whether it is active.
    """

    subscription_id: str
    customer: Customer
    plan: Plan
    start: datetime
    end: datetime
    auto_renew: bool = True
    is_new: bool = True
    filters: tuple[tuple[str, str], ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    status: Literal["not_started", "active", "canceled", "ended"] = "active"
    usage_start: datetime | None = None
    parent: Subscription | None = None

    def is_active(self, now: datetime) -> bool:
        """Whether ``now`` is within its dates."""
        return self.start <= now < self.end


@dataclass(slots=True)
class Credit:
    """Money a customer has in advance."""

    credit_id: str
    customer: Customer
    amount: Decimal
    currency: str
    description: str | None
    effective_at: datetime
    expires_at: datetime | None
    created_at: datetime
    amount_paid: Decimal = Decimal(0)
    amount_paid_currency: str | None = None
    is_active: bool = True


class Accounts:
    """The organization's customers, plans, subscriptions and credits, by id, in order of creation.

    The ``add_...`` methods seed a test; the calls of a client go through the server's endpoints and its rules.
    The lists are live: read them, do not change them.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.organization_id = new_id("org_")
        self.customers: dict[str, Customer] = {}
        self.plans: dict[str, Plan] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.credits: dict[str, Credit] = {}

    def add_customer(
        self, customer_id: str, *, name: str | None = None, email: str | None = None, currency: str = "USD"
    ) -> Customer:
        """Add a customer, or return the one that has this id."""
        return self.customers.setdefault(customer_id, Customer(customer_id, name, email, currency))

    def add_plan(
        self,
        plan_name: str,
        *,
        plan_id: str | None = None,
        components: Iterable[Component] = (),
        features: Iterable[str | Feature] = (),
        duration: Duration = "monthly",
        currency: str = "USD",
        tags: Sequence[str] = (),
        addon: bool = False,
    ) -> Plan:
        """Add a plan (or an add-on) and return it with its ids.

        On L22 ``plan_id`` may be any text. L24 takes only ids of its own making (``plan_`` or ``addon_`` and 32 hex
        digits): leave it out there and use what is returned. Features of one name share one id.
        """
        plan = Plan(
            plan_name=plan_name,
            plan_id=plan_id or new_id("addon_" if addon else "plan_"),
            version_id=new_id("addon_version_" if addon else "plan_version_"),
            components=tuple(components),
            features=tuple(self._feature(feature) for feature in features),
            duration=duration,
            currency=currency,
            tags=tuple(tags),
            is_addon=addon,
        )
        self.plans[plan.plan_id] = plan
        return plan

    def add_subscription(
        self,
        customer_id: str,
        plan: Plan,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        subscription_id: str | None = None,
    ) -> Subscription:
        """Subscribe a customer (added if unknown) from ``start``, by default a day ago, without any check."""
        start = start or self.now() - timedelta(days=1)
        subscription = Subscription(
            subscription_id=subscription_id or new_id("sub_"),
            customer=self.add_customer(customer_id),
            plan=plan,
            start=start,
            end=end or end_of_period(start, plan.duration),
        )
        self.subscriptions[subscription.subscription_id] = subscription
        return subscription

    def version(self, version_id: str) -> Plan | None:
        """Return the plan or add-on that has this version."""
        return next((plan for plan in self.plans.values() if plan.version_id == version_id), None)

    def metric(self, metric_id: str) -> Component | None:
        """Return the component that measures this metric."""
        components = (component for plan in self.plans.values() for component in plan.components)
        return next((component for component in components if component.metric_id == metric_id), None)

    def feature(self, feature_id: str) -> Feature | None:
        """Return the feature with this id."""
        features = (feature for plan in self.plans.values() for feature in plan.features)
        return next((feature for feature in features if feature.feature_id == feature_id), None)

    def subscriptions_of(self, customer: Customer) -> list[Subscription]:
        """Return a customer's subscriptions that are active now, add-ons left out."""
        now = self.now()
        return [
            subscription
            for subscription in self.subscriptions.values()
            if subscription.customer is customer and subscription.parent is None and subscription.is_active(now)
        ]

    def addons_of(self, subscription: Subscription) -> list[Subscription]:
        """Return the add-ons attached to a subscription, ended ones too."""
        return [addon for addon in self.subscriptions.values() if addon.parent is subscription]

    def _feature(self, feature: str | Feature) -> Feature:
        if isinstance(feature, Feature):
            return feature
        known = (known for plan in self.plans.values() for known in plan.features)
        return next((known for known in known if known.feature_name == feature), Feature(feature))


def end_of_period(start: datetime, duration: str) -> datetime:
    """Return the last second of the period that begins at ``start``."""
    months = start.month - 1 + MONTHS[duration]
    year, month = start.year + months // 12, months % 12 + 1
    day = min(start.day, _days_in(year, month))
    return start.replace(year=year, month=month, day=day) - timedelta(seconds=1)


def _days_in(year: int, month: int) -> int:
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return (following - timedelta(days=1)).day
