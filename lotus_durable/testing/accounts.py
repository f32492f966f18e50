"""What the server knows beside events: customers, plans, subscriptions, credits. In memory only."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lotus_durable.testing.catalog import CURRENCIES, Component, Currency, Duration, Feature, Plan, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MONTHS: dict[str, int] = {"monthly": 1, "quarterly": 3, "yearly": 12}


@dataclass(slots=True)
class Customer:
    """A customer; ``email`` is None on L22."""

    customer_id: str
    name: str | None = None
    email: str | None = None
    currency: Currency = CURRENCIES["USD"]
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
    status: str = "active"
    parent: Subscription | None = None
    fully_billed: bool = False
    all_of_them: dict[str, Subscription] = field(default_factory=dict, repr=False)

    @property
    def addons(self) -> list[Subscription]:
        """The add-ons attached to it, ended ones too."""
        return [addon for addon in self.all_of_them.values() if addon.parent is self]

    @property
    def id_as_subscription(self) -> str:
        """The id as L24 lists it: an add-on's like any subscription's."""
        return self.subscription_id.removeprefix("addon_")

    @property
    def start_day(self) -> date:
        """Where it begins, which is all L22 shows."""
        return self.start.date()

    @property
    def end_day(self) -> date:
        """Where it ends."""
        return self.end.date()

    def is_active(self, now: datetime) -> bool:
        """Whether ``now`` is within its dates."""
        return self.start <= now < self.end

    def state(self, now: datetime) -> str:
        """L24's word for where ``now`` is."""
        return "not_started" if now < self.start else "active" if now < self.end else "ended"

    def overlaps(self, other: Subscription) -> bool:
        """Whether both are one customer's to one plan at one time with the same filters; no filters are all."""
        return (
            (self.customer is other.customer and self.plan is other.plan)
            and (self.start <= other.end and other.start < self.end)
            and (not self.filters or not other.filters or set(self.filters) == set(other.filters))
        )


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

    @property
    def status(self) -> str:
        """The server's word."""
        return "active" if self.is_active else "inactive"


class Accounts:
    """The organization's customers, plans, subscriptions and credits, by id, in order of creation.

    The ``add_...`` methods seed a test; the calls of a client go through the server's endpoints and its rules.
    The lists are live: read them, do not change them.

    Attributes:
        payment_providers: those connected to the organization (L24); none at first, as for any organization.
        filter_names: the properties that subscriptions may be filtered by (L24); none at first.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.organization_id: str = new_id("org_")
        self.customers: dict[str, Customer] = {}
        self.plans: dict[str, Plan] = {}
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
        plan = Plan(
            plan_name=plan_name,
            plan_id=plan_id or new_id("addon_" if addon else "plan_"),
            version_id=new_id("addon_version_" if addon else "plan_version_"),
            created_on=self.now(),
            components=tuple(components),
            features=tuple(self._feature(feature) for feature in features),
            duration=duration,
            currency=CURRENCIES[currency],
            tags=tuple(tags),
            flat_rate=Decimal(str(flat_rate)),
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
        end = end or end_of_period(start, plan.duration)
        return self.keep(
            Subscription(subscription_id or new_id("sub_"), self.add_customer(customer_id), plan, start, end)
        )

    def keep(self, subscription: Subscription) -> Subscription:
        """Add a subscription as it is."""
        subscription.all_of_them = self.subscriptions
        self.subscriptions[subscription.subscription_id] = subscription
        return subscription

    def subscriptions_of(self, customer: Customer) -> list[Subscription]:
        """Return a customer's subscriptions that are active now, add-ons left out."""
        return [one for one in self.active_of(customer) if one.parent is None]

    def active_of(self, customer: Customer) -> list[Subscription]:
        """Return what a customer is subscribed to now, add-ons too."""
        now = self.now()
        return [one for one in self.subscriptions.values() if one.customer is customer and one.is_active(now)]

    def metric(self, metric_id: str) -> Component | None:
        """Return the component that measures this metric."""
        components = (component for plan in self.plans.values() for component in plan.components)
        return next((component for component in components if component.metric_id == metric_id), None)

    def feature(self, feature_id: str) -> Feature | None:
        """Return the feature with this id."""
        features = (feature for plan in self.plans.values() for feature in plan.features)
        return next((feature for feature in features if feature.feature_id == feature_id), None)

    def _feature(self, feature: str | Feature) -> Feature:
        if isinstance(feature, Feature):
            return feature
        known = (known for plan in self.plans.values() for known in plan.features)
        return next((known for known in known if known.feature_name == feature), Feature(feature))


def end_of_period(start: datetime, duration: str) -> datetime:
    """Return the last moment of the last day of the period that begins at ``start``."""
    months = start.month - 1 + MONTHS[duration]
    year, month = start.year + months // 12, months % 12 + 1
    day = min(start.day, monthrange(year, month)[1])
    return datetime(year, month, day, tzinfo=start.tzinfo) - timedelta(microseconds=1)
