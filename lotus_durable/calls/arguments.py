"""What the calls take as arguments, and what of it is sent.

:func:`read` reads the arguments of a call as its signature types them: for each type there is a reader, which takes the
argument's name and value and returns its form in a request. What the server would refuse, cut off or misread is refused
here, before anything is sent. It is one file, because it is one table of readers.

Raises:
    InvalidRequest: in all of them; names the argument and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from math import inf, isfinite
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

from lotus_durable.errors import InvalidEvent, InvalidRequest
from lotus_durable.event.properties import clean_properties
from lotus_durable.event.record import JsonValue
from lotus_durable.event.text import plain_text, text_fault, type_name
from lotus_durable.event.timestamps import clean_time

Moment: TypeAlias = datetime | date | str
"""A time: a datetime (naive is UTC), RFC 3339 text, or a date (its midnight in UTC), also as ``YYYY-MM-DD``."""

Boolean: TypeAlias = bool | Literal["True", "False"]
"""Yes or no; the original's README writes the words."""

Number: TypeAlias = Decimal | int | float
"""Money or units; sent digit by digit."""

FlatFeeBehavior: TypeAlias = Literal["refund", "charge_prorated", "charge_full"]
UsageBehavior: TypeAlias = Literal["bill_full", "bill_none"]
InvoicingBehavior: TypeAlias = Literal["invoice_now", "add_to_next_invoice"]
"""How the server of 2024 settles what is cancelled or switched."""

T = TypeVar("T")

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WORDS = {"true": True, "false": False}
_MOST_DIGITS = 100
"""On either side of the point: the servers take 10, and ``Decimal("1e9999999")`` must not become ten million zeros."""
_MOST_BYTES = 1024 * 1024


class SubscriptionFilter(TypedDict):
    """One condition on a subscription's filters."""

    property_name: str
    value: str


class InitialUnits(TypedDict):
    """How many units of a fixed charge a subscription begins with."""

    metric_id: str
    units: Number


def refused(argument: str, reason: str) -> InvalidRequest:
    """Return the error for an argument that is refused here."""
    return InvalidRequest(f"{argument}: {reason}", argument=argument)


def optional(read: Callable[[str, Any], T], argument: str, value: object) -> T | None:
    """Read an argument that may be left out."""
    return None if value is None else read(argument, value)


def exactly_one(**given: object) -> str:
    """Return the name of the one argument that is not None."""
    name = at_most_one(**given)
    if name is None:
        raise refused(next(iter(given)), f"one of {_listed(given)} is needed")
    return name


def at_most_one(**given: object) -> str | None:
    """Return the name of the argument that is not None, or None."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise refused(names[1], f"only one of {_listed(given)} can be given")
    return names[0] if names else None


def at_least_one(**given: object) -> None:
    """Refuse a call that would change nothing."""
    if all(value is None for value in given.values()):
        raise refused(next(iter(given)), f"one of {_listed(given)} is needed: there is nothing to do")


def text(argument: str, value: object) -> str:
    """Read text that is not blank."""
    if value is None:
        raise refused(argument, "is required")
    plain = plain_text(value)
    if plain is None:
        raise refused(argument, f"must be a str, not {type_name(value)}")
    fault = text_fault(plain)
    if fault is not None:
        raise refused(argument, fault)
    if not plain.strip():
        raise refused(argument, "must not be empty")
    return plain


def identifier(argument: str, value: object) -> str:
    """Read an id. The servers cut white space off its ends when they store it, and events would not find it then."""
    plain = text(argument, value)
    if plain != plain.strip():
        raise refused(argument, "has white space before or after it, which the server cuts off")
    return plain


def path_part(argument: str, value: object) -> str:
    """Read an id that is sent as a part of the URL, and quote it. The servers find none with a dot or a slash there."""
    plain = identifier(argument, value)
    if "/" in plain or "." in plain:
        raise refused(
            argument, "has a dot or a slash, and the server finds no such id in a URL; look in the list instead"
        )
    return quote(plain, safe="")


def boolean(argument: str, value: object) -> bool:
    """Read a bool, or the words True and False."""
    if isinstance(value, bool):
        return value
    plain = plain_text(value)
    if plain is None or plain.lower() not in _WORDS:
        raise refused(argument, "must be True or False")
    return _WORDS[plain.lower()]


def choice(allowed: object) -> Callable[[str, object], str]:
    """Return a reader of one of the words of this ``Literal``."""
    words: tuple[str, ...] = get_args(allowed)

    def read(argument: str, value: object) -> str:
        plain = plain_text(value)
        if plain not in words:
            raise refused(argument, f"must be one of {', '.join(words)}")
        assert plain is not None
        return plain

    return read


def day(argument: str, value: object) -> str:
    """Read a moment as its day in UTC, ``YYYY-MM-DD``: all that the server of 2022 knows."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return date.isoformat(value)
    plain = plain_text(value)
    if plain is not None and _DAY.fullmatch(plain):
        return _existing_day(argument, plain)
    return moment(argument, value)[: len("2024-02-19")]


def moment(argument: str, value: object) -> str:
    """Read a moment as RFC 3339 text in UTC."""
    if value is None:
        raise refused(argument, "is required")
    plain = plain_text(value)
    is_day = plain is not None and _DAY.fullmatch(plain) is not None
    if is_day or (isinstance(value, date) and not isinstance(value, datetime)):
        return f"{day(argument, value)}T00:00:00.000000Z"
    try:
        return clean_time(value)
    except InvalidEvent as refusal:
        reason = refusal.reason
    raise refused(argument, reason)


def number(argument: str, value: object) -> str:
    """Read a number as text, with exactly its digits.

    As text because the server reads a JSON number into a float first: 0.1234567890123456789 would lose its end.
    """
    if value is None:
        raise refused(argument, "is required")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise refused(argument, f"must be a Decimal, an int or a float, not {type_name(value)}")
    if isinstance(value, float) and not isfinite(value):
        raise refused(argument, "must be a finite number")
    exact = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        raise refused(argument, "must be a finite number")
    if max(exact.adjusted(), -int(exact.as_tuple().exponent)) >= _MOST_DIGITS:
        raise refused(argument, f"has more than {_MOST_DIGITS} digits on one side of the point")
    return f"{exact:f}"


def count(argument: str, value: object) -> int:
    """Read a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refused(argument, "must be a whole number of at least 1")
    return int(number(argument, value))


def duration(argument: str, value: object) -> float:
    """Read a number of seconds above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise refused(argument, "must be a number of seconds above 0")
    return float(number(argument, value))


def json_object(argument: str, value: object) -> dict[str, JsonValue]:
    """Read a mapping of what JSON can hold, to the leaf."""
    try:
        return clean_properties(value, _MOST_BYTES)
    except InvalidEvent as refusal:
        where, reason = refusal.field, refusal.reason
    if where.startswith("properties"):
        raise refused(argument + where.removeprefix("properties"), reason)
    raise refused(argument, f"takes more than {_MOST_BYTES} bytes")


def listed(read: Callable[[str, Any], T]) -> Callable[[str, object], list[T]]:
    """Return a reader of a list or tuple of what ``read`` reads."""

    def read_all(argument: str, value: object) -> list[T]:
        if not isinstance(value, list | tuple):
            raise refused(argument, f"must be a list, not {type_name(value)}")
        return [read(f"{argument}[{index}]", item) for index, item in enumerate(value)]

    return read_all


def subscription_filter(argument: str, value: object) -> SubscriptionFilter:
    """Read one filter; a whole number is taken as its text."""
    name, wanted = _fields(argument, value, "property_name", "value")
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        wanted = number(f"{argument}.value", wanted)
    return {"property_name": text(f"{argument}.property_name", name), "value": text(f"{argument}.value", wanted)}


def initial_units(argument: str, value: object) -> dict[str, str]:
    """Read the units that one fixed charge begins with."""
    metric_id, units = _fields(argument, value, "metric_id", "units")
    return {"metric_id": identifier(f"{argument}.metric_id", metric_id), "units": number(f"{argument}.units", units)}


def read(call: Callable[..., object], given: Mapping[str, Any]) -> dict[str, Any]:
    """Read the arguments of a call, its ``locals()``, as its signature types them; what may be left out may be None."""
    return {
        name: None if is_optional and given[name] is None else reader(name, given[name])
        for name, (reader, is_optional) in _readers(call).items()
    }


@cache
def _readers(call: Callable[..., object]) -> dict[str, tuple[Callable[[str, Any], Any], bool]]:
    types = get_type_hints(call)
    found = {}
    for name in list(types)[1:-1]:  # between what makes the call and what it returns
        is_union = get_origin(types[name]) in (Union, UnionType)
        alternatives = frozenset(get_args(types[name]) if is_union else (types[name],))
        found[name] = _reader(name, alternatives - {NoneType}), NoneType in alternatives
    return found


def _reader(name: str, alternatives: frozenset[Any]) -> Callable[[str, Any], Any]:
    if alternatives in _BY_TYPE:
        return _BY_TYPE[alternatives]
    (alone,) = alternatives
    if get_origin(alone) is Literal:
        return choice(alone)
    if get_origin(alone) is Sequence:
        return listed(_reader(name, frozenset(get_args(alone))))
    return identifier if name.endswith(("_id", "_uid")) else text


_BY_TYPE: dict[frozenset[Any], Callable[[str, Any], Any]] = {
    frozenset(get_args(Moment)): moment,
    frozenset(get_args(Boolean)): boolean,
    frozenset(get_args(Number)): number,
    frozenset({int}): count,
    frozenset({float}): duration,
    frozenset({Mapping[str, Any]}): json_object,
    frozenset({SubscriptionFilter}): subscription_filter,
    frozenset({InitialUnits}): initial_units,
}


def _fields(argument: str, value: object, *names: str) -> Sequence[object]:
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise refused(argument, f"must be a mapping with {' and '.join(names)}, and nothing else")
    return [value[name] for name in names]


def _existing_day(argument: str, plain: str) -> str:
    try:
        date.fromisoformat(plain)
    except ValueError:
        pass
    else:
        return plain
    raise refused(argument, "is not a day that exists")


def _listed(given: Mapping[str, object]) -> str:
    *others, last = given
    return f"{', '.join(others)} or {last}" if others else last
