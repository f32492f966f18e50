"""What the server knows beside events, in memory only; how any of it is shown is in ``data/``."""

from __future__ import annotations

import uuid
from calendar import monthrange
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from lotus_durable.testing.data import load

Duration = Literal["monthly", "quarterly", "yearly"]
_MONTHS = {"monthly": 1, "quarterly": 3, "yearly": 12}


def new_id(prefix: str) -> str:
    """Return an id as L24 makes them."""
    return prefix + uuid.uuid4().hex


Currency = Mapping[str, str]
CURRENCIES: dict[str, Currency] = load("l24")["currencies"]


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
        of = f"sum of {self.property_name} of" if self.property_name else "count of"
        return self.metric_name or f"{of} {self.event_name}"

    @property
    def tiers(self) -> list[dict[str, Any]]:
        """L24 has the free part and the limit as tiers."""
        free, limit = self.free_limit, self.limit
        tiers: list[dict[str, Any]] = [] if free is None else [{"type": "free", "start": 0, "end": free}]
        if free is None or limit != free:
            tiers.append({"type": "per_unit", "start": free or 0, "end": limit, "cost": 1.0, "rounding": "no_rounding"})
        return tiers


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a plan gives access to."""

    feature_name: str
    feature_id: str = field(default_factory=lambda: new_id("feature_"))
    feature_description: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, or an add-on, with its one version. An add-on with components is renewed, one without is paid once."""

    plan_name: str
    plan_id: str
    version_id: str
    created_on: datetime
    components: tuple[Component, ...] = ()
    features: tuple[Feature, ...] = ()
    duration: Duration = "monthly"
    currency: Currency = field(default_factory=lambda: CURRENCIES["USD"])
    tags: tuple[str, ...] = ()
    flat_rate: Decimal = Decimal(0)
    is_addon: bool = False


@dataclass(slots=True)
class Customer:
    """A customer; ``email`` is None on L22. ``details`` is the rest of what was sent."""

    customer_id: str
    name: str | None = None
    email: str | None = None
    currency: Currency = field(default_factory=lambda: CURRENCIES["USD"])
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Subscription:
    """A customer's subscription to a plan, or the attachment of an add-on to one (then it has a ``parent``).

    ``status`` is L22's stored word; on L24 the dates alone say whether it is active. ``addons`` has ended ones too.
    """

    subscription_id: str
    customer: Customer
    plan: Plan
    start: datetime
    end: datetime
    auto_renew: bool = True
    is_new: bool = True
    filters: tuple[tuple[str, str], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    status: str = "active"
    parent: Subscription | None = None
    fully_billed: bool = False
    addons: list[Subscription] = field(default_factory=list)

    def state(self, now: datetime) -> str:
        """L24's word for where ``now`` is."""
        return "not_started" if now < self.start else "active" if now < self.end else "ended"

    def is_active(self, now: datetime) -> bool:
        """Whether ``now`` is within its dates."""
        return self.start <= now < self.end

    def overlaps(self, other: Subscription) -> bool:
        """Whether both are one customer's to one plan at one time with the same filters; no filters are all."""
        are_of_one = self.customer is other.customer and self.plan is other.plan
        are_alike = not self.filters or not other.filters or set(self.filters) == set(other.filters)
        return are_of_one and are_alike and self.start <= other.end and other.start < self.end


@dataclass(slots=True)
class Drawdown:
    """What was taken from a credit."""

    amount: Decimal
    description: str
    applied_at: datetime
    credit_id: str = field(default_factory=lambda: new_id("baladj_"))


@dataclass(slots=True)
class Credit:
    """Money a customer has in advance."""

    customer: Customer
    amount: Decimal
    currency: Currency
    created_at: datetime
    effective_at: datetime
    expires_at: datetime | None = None
    description: str | None = None
    amount_paid: Decimal = Decimal(0)
    amount_paid_currency: Currency | None = None
    is_active: bool = True
    drawdowns: list[Drawdown] = field(default_factory=list)
    credit_id: str = field(default_factory=lambda: new_id("baladj_"))

    @property
    def remaining(self) -> Decimal:
        """What has not been taken."""
        return self.amount + sum((one.amount for one in self.drawdowns), Decimal(0))


class Accounts:
    """The organization's customers, plans, subscriptions and credits, by id, in order of creation: live collections.

    The ``add_...`` methods seed a test; the calls of a client go through the server's endpoints and its rules.

    Attributes:
        payment_providers: those connected to the organization (L24); none at first, as for any organization.
        filter_names: the properties that subscriptions may be filtered by (L24); none at first.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.organization_id: str = new_id("org_")
        self.customers: dict[str, Customer] = {}
        self.plans: dict[str, Plan] = {}
        self.versions: dict[str, Plan] = {}
        self.metrics: dict[str, Component] = {}
        self.features: dict[str, Feature] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.credits: dict[str, Credit] = {}
        self.payment_providers: set[str] = set()
        self.filter_names: set[str] = set()

    def add_customer(
        self, customer_id: str, *, name: str | None = None, email: str | None = None, currency: str = "USD"
    ) -> Customer:
        """Add a customer, or return the one that has this id."""
        return self.customers.setdefault(customer_id, Customer(customer_id, name, email, CURRENCIES[currency]))

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
        flat_rate: float = 0,
        addon: bool = False,
    ) -> Plan:
        """Add a plan (or an add-on) and return it with its ids.

        On L22 ``plan_id`` may be any text. L24 takes only ids of its own making (``plan_`` or ``addon_`` and 32 hex
        digits): leave it out there and use what is returned. Features of one name share one id.
        """
        kind = "addon_" if addon else "plan_"
        plan = Plan(
            plan_name=plan_name,
            plan_id=plan_id or new_id(kind),
            version_id=new_id(f"{kind}version_"),
            created_on=self.now(),
            components=tuple(components),
            features=tuple(self._feature(feature) for feature in features),
            duration=duration,
            currency=CURRENCIES[currency],
            tags=tuple(tags),
            flat_rate=Decimal(str(flat_rate)),
            is_addon=addon,
        )
        self.plans[plan.plan_id] = self.versions[plan.version_id] = plan
        for component in plan.components:
            self.metrics.setdefault(component.metric_id, component)
        return plan

    def _feature(self, given: str | Feature) -> Feature:
        known = (feature for feature in self.features.values() if feature.feature_name == given)
        feature = given if isinstance(given, Feature) else next(known, Feature(given))
        return self.features.setdefault(feature.feature_id, feature)

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
        end = end or end_of_period(start, plan.duration)
        customer = self.add_customer(customer_id)
        return self.keep(Subscription(subscription_id or new_id("sub_"), customer, plan, start, end))

    def keep(self, subscription: Subscription) -> Subscription:
        """Add a subscription as it is."""
        self.subscriptions[subscription.subscription_id] = subscription
        return subscription

    def active_of(self, customer: Customer) -> list[Subscription]:
        """Return what a customer is subscribed to now, add-ons too."""
        now = self.now()
        return [one for one in self.subscriptions.values() if one.customer is customer and one.is_active(now)]

    def subscriptions_of(self, customer: Customer) -> list[Subscription]:
        """Return a customer's subscriptions that are active now, add-ons left out."""
        return [one for one in self.active_of(customer) if one.parent is None]


def end_of_period(start: datetime, duration: str) -> datetime:
    """Return the last moment of the last day of the period that begins at ``start``."""
    months = start.month - 1 + _MONTHS[duration]
    year, month = start.year + months // 12, months % 12 + 1
    day = min(start.day, monthrange(year, month)[1])
    return datetime(year, month, day, tzinfo=start.tzinfo) - timedelta(microseconds=1)
