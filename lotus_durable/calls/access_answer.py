"""What both generations of the server say about access, as one object. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from .generation import Generation


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage and limits of one metric in one subscription. Decimals; None is what the server did not say.

    Attributes:
        plan_id: of the subscription's plan.
        event_name: the events it counts.
        metric_id: its id.
        metric_name: its name.
        usage: so far in this period.
        free_limit: up to here it costs nothing.
        total_limit: at this usage access ends; None for no limit.
        access: whether usage is below the limit; None if that cannot be told.
    """

    plan_id: str | None
    event_name: str | None
    metric_id: str | None
    metric_name: str | None
    usage: Decimal | None
    free_limit: Decimal | None
    total_limit: Decimal | None
    access: bool | None


@dataclass(frozen=True, slots=True)
class Access:
    """Whether a customer has access.

    Attributes:
        access: the answer. When it cannot be had there is no such object but an error.
        usages: what it was derived from, where the server tells: by event or metric on the server of 2024.
        answer: the server's JSON, its numbers exact; None with ``send=False``.
    """

    access: bool
    usages: tuple[Usage, ...] = ()
    answer: Any = field(default=None, repr=False)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # of each field
        """Return an attribute by its name, as of the answer of the server of 2022.

        Raises:
            KeyError: there is none.
        """
        if name not in self.__slots__:
            raise KeyError(name)
        return getattr(self, name)

    def __bool__(self) -> NoReturn:
        """Refuse: ``if get_customer_access(…)`` would be true for everybody.

        Raises:
            TypeError: always.
        """
        raise TypeError("what get_customer_access returns is neither true nor false: use its .access")


def read_access(generation: Generation, kind: str, answer: Any) -> Access | None:  # noqa: ANN401  # any JSON value
    """Read an answer, its numbers exact; None when it does not say whether there is access.

    On the server of 2024 there is access by an event if some component that counts it has no limit or usage below it,
    and by a feature if some subscription has it. Otherwise the server itself says.
    """
    if generation == "2024" and kind in ("event_name", "feature_name"):
        if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
            return None
        if kind == "feature_name":
            return _any([one.get("access") for one in answer], (), answer)
        usages = tuple(_usages_of_plans(answer))
        return _any([one.access for one in usages], usages, answer)
    if not isinstance(answer, dict) or not isinstance(answer.get("access"), bool):
        return None
    return Access(answer["access"], tuple(_usages_per_subscription(answer)), answer)


def _any(each: list[bool | None], usages: tuple[Usage, ...], answer: object) -> Access | None:
    if any(one is True for one in each):
        return Access(access=True, usages=usages, answer=answer)
    if all(one is False for one in each):
        return Access(access=False, usages=usages, answer=answer)
    return None  # the one that does not say might have been the one


def _usages_of_plans(answer: list[dict[str, Any]]) -> Iterator[Usage]:
    for entry in answer:
        components = entry.get("usage_per_component")
        for component in components if isinstance(components, list) else [None]:
            yield _usage(entry.get("plan_id"), _object(component), _object(component))


def _usages_per_subscription(answer: dict[str, Any]) -> Iterator[Usage]:
    metric, entries = answer.get("metric"), answer.get("access_per_subscription")
    if isinstance(metric, dict) and isinstance(entries, list):
        for entry in map(_object, entries):
            plan = _object(_object(entry.get("subscription")).get("plan"))
            yield _usage(plan.get("plan_id"), metric, entry)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _usage(plan_id: object, metric: dict[str, Any], figures: dict[str, Any]) -> Usage:
    usage, total_limit = _decimal(figures.get("metric_usage")), _decimal(figures.get("metric_total_limit"))
    return Usage(
        plan_id=_text(plan_id),
        event_name=_text(metric.get("event_name")),
        metric_id=_text(metric.get("metric_id")),
        metric_name=_text(metric.get("metric_name")),
        usage=usage,
        free_limit=_decimal(figures.get("metric_free_limit")),
        total_limit=total_limit,
        access=_is_below(figures, usage, total_limit),
    )


def _is_below(figures: Mapping[str, Any], usage: Decimal | None, total_limit: Decimal | None) -> bool | None:
    if "metric_total_limit" not in figures:
        return None
    if figures["metric_total_limit"] is None:
        return True
    return None if usage is None or total_limit is None else usage < total_limit


def _decimal(value: object) -> Decimal | None:
    return value if isinstance(value, Decimal) else None  # what answers.exact_value() could not read is no number


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
