"""What a customer can be subscribed to: plans, add-ons, their components and features, and currencies."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, NamedTuple

Duration = Literal["monthly", "quarterly", "yearly"]


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency the organization knows."""

    code: str
    name: str
    symbol: str


CURRENCIES = {
    code: Currency(code, name, symbol)
    for code, name, symbol in (
        ("USD", "US Dollar", "$"),
        ("EUR", "Euro", "€"),
        ("GBP", "Pound", "£"),
        ("JPY", "Yen", "¥"),
    )
}


def new_id(prefix: str) -> str:
    """Return an id as L24 makes them."""
    return prefix + uuid.uuid4().hex


class Tier(NamedTuple):
    """A stretch of usage and what is asked for it."""

    type: str
    start: Decimal
    end: Decimal | None
    cost_per_batch: float | None = None
    batch_rounding_type: str | None = None


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

    @property
    def aggregation(self) -> str:
        """The server's word for how it is measured."""
        return "sum" if self.property_name else "count"

    @property
    def total(self) -> Decimal | None:
        """The limit as the servers keep it."""
        return None if self.limit is None else Decimal(str(self.limit))

    @property
    def free(self) -> Decimal | None:
        """The free part as the servers keep it."""
        return None if self.free_limit is None else Decimal(str(self.free_limit))

    @property
    def tiers(self) -> list[Tier]:
        """L24 has the free part and the limit as tiers."""
        free, total = self.free, self.total
        tiers = [] if free is None else [Tier("free", Decimal(0), free)]
        if free is None or total != free:
            tiers.append(Tier("per_unit", free or Decimal(0), total, 1.0, "no_rounding"))
        return tiers


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a plan gives access to."""

    feature_name: str
    feature_id: str = field(default_factory=lambda: new_id("feature_"))
    feature_description: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, or an add-on, with its one version."""

    plan_name: str
    plan_id: str
    version_id: str
    created_on: datetime
    components: tuple[Component, ...] = ()
    features: tuple[Feature, ...] = ()
    duration: Duration = "monthly"
    currency: Currency = CURRENCIES["USD"]
    tags: tuple[str, ...] = ()
    flat_rate: Decimal = Decimal(0)
    is_addon: bool = False

    @property
    def interval(self) -> str:
        """L22's word for the duration."""
        return self.duration.removesuffix("ly")

    @property
    def day(self) -> date:
        """The day it was made on, which is all L22 keeps."""
        return self.created_on.date()

    @property
    def id_as_plan(self) -> str:
        """The id with a plan's prefix: L24 lists the add-ons of a customer as if they were plans."""
        return self.plan_id.replace("addon_", "plan_")

    @property
    def version_as_plan(self) -> str:
        """The version's id with a plan's prefix."""
        return self.version_id.replace("addon_", "plan_")

    @property
    def is_metered(self) -> bool:
        """Whether it has components; an add-on without is paid once, one with them is renewed."""
        return bool(self.components)

    @property
    def addon_type(self) -> str:
        """L24's word for what an add-on is."""
        return "usage_based" if self.is_metered else "flat"

    @property
    def billing_frequency(self) -> str:
        """L24's word for when an add-on is paid."""
        return "recurring" if self.is_metered else "one_time"
