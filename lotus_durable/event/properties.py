"""What may stand in an event's ``properties``, and what it becomes.

The servers take a JSON object. Everything in it is checked to the leaf before the event is accepted, because one bad
value costs more than its own event: over a NUL character or a NaN the server of 2022 loses the whole batch, and the
one of 2024 refuses it.

=================================================  ===============================================================
given                                              becomes
=================================================  ===============================================================
``str`` without NUL and lone surrogates            itself
``bool``, ``None``                                 itself
``int`` within signed 64 bits                      itself; beyond 2**53 with a warning, see below
finite ``float``                                   itself
``Decimal``                                        the ``float`` whose ``repr`` is the same number; refused if there is
                                                   none
``timedelta``                                      its seconds as ``float``: 90 minutes are ``5400.0``
``datetime``                                       RFC 3339 text in UTC, as ``time_created`` (naive is UTC)
``date``                                           ``YYYY-MM-DD``
``UUID``                                           its text
``Enum``                                           its value, cleaned like any other
numpy's numbers and ``bool_``                      the ``int``, ``float`` or ``bool`` of exactly the same value
Django's lazy text (``gettext_lazy``)              its text in the language active at the call
dataclass                                          ``dict`` of its fields
pydantic model (version 2)                         what its ``model_dump(mode="python")`` gives, cleaned like any other
``dict`` and other ``Mapping`` with ``str`` keys   ``dict``
``list``, ``tuple``                                ``list``
``set``, ``frozenset``                             ``list``, sorted if what is in it can be compared
a subclass of one of these                         the plain type
=================================================  ===============================================================

``properties`` itself may be a mapping, a dataclass or a pydantic model.

No number changes in silence. ``Decimal("19.99")`` is sent as 19.99, and ``Decimal(1) / 3``, ``Decimal("1E-400")`` and
``Decimal("12345678901234567890.12")`` are refused, because the number sent would be another one: ``float()`` of them is
the explicit way to send the nearest number, ``str()`` the way to send all digits, as text (which no metric can sum).
The server of 2024 keeps numbers as floats, so an integer beyond 2**53 is stored rounded there: it is sent, and the
first one of a process is warned about.

Anything else is refused with its path, for example ``properties.items[3].price``. Containers may be nested
``MAX_DEPTH`` deep, ``properties`` itself being the first. What is given is never changed, and none of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from itertools import islice
from math import isfinite

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.convert import Refused, converted, imported_class, unfolded
from lotus_durable.event.record import MAX_DEPTH
from lotus_durable.event.text import path_step, plain_text, shown, text_fault, type_name
from lotus_durable.log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import Enum
    from typing import Any, TypeAlias

    from lotus_durable.event.record import JsonValue

_Cleaning: TypeAlias = "Callable[[_Cleaner, Any], JsonValue]"

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


EXACT_AS_FLOAT = 2**53
"""Integers up to this, of either sign, are kept by a server that stores numbers as floats of 64 bits."""

_said: dict[str, object] = {}
"""Whether an integer beyond that was warned about: once in a process, and in none that it forks after that."""


def clean_properties(properties: object, max_bytes: int, *, warns: bool = False) -> dict[str, JsonValue]:
    """Copy ``properties`` into plain JSON types, following the table above.

    Args:
        properties: what was given.
        max_bytes: where work on something endless ends (a generator behind ``items()``, lists that hold one another
            many times over): as soon as the record is certain to take more.
        warns: say so when the first integer beyond 2**53 is in it.

    Raises:
        InvalidEvent: with the path of the first value refused. What code of a value raised is chained to it.
    """
    cleaner = _Cleaner(max_bytes)
    try:
        given: Any = properties if issubclass(type(properties), Mapping) else unfolded(properties)
        if not issubclass(type(given), Mapping):
            raise Refused(f"must be a mapping such as a dict, not {type_name(properties)}")
        cleaned = cleaner.mapping(given)
    except Exception as error:  # noqa: BLE001  # none is lost: it is the cause of the refusal
        refused = _placed(error, "properties")
        if isinstance(refused, InvalidEvent):
            raise refused from None
        raise InvalidEvent("".join(reversed(refused.path)), refused.reason) from refused.cause
    mark = object()
    # In one step: of two threads one says it, and a handler that tracks such an event itself does not come back here.
    if warns and cleaner.has_rounded and _said.setdefault("it", mark) is mark:
        logger.warning(
            "%s: an integer beyond 2**53 is stored rounded by the server of 2024; str() of it is kept (said once)",
            _path_of_rounded(cleaned, "properties"),
        )
    return cleaned


def warning_was_given() -> bool:
    """Say whether nothing is left to be said about such an integer."""
    return bool(_said)


def _path_of_rounded(value: JsonValue, path: str) -> str | None:
    if type(value) is int:
        return None if -EXACT_AS_FLOAT <= value <= EXACT_AS_FLOAT else path
    inner: Iterable[tuple[str, JsonValue]] = ()
    if isinstance(value, dict):
        inner = ((path_step(name), item) for name, item in value.items())
    elif isinstance(value, list):
        inner = ((f"[{index}]", item) for index, item in enumerate(value))
    return next(filter(None, (_path_of_rounded(item, path + step) for step, item in inner)), None)


def _placed(error: Exception, step: str) -> Refused | InvalidEvent:
    """Add one step of the path to whatever was raised below it; a foreign exception becomes a refusal here."""
    if isinstance(error, InvalidEvent):
        return error
    refused = error if isinstance(error, Refused) else Refused(f"cannot be read: {type_name(error)}", error)
    refused.path.append(step)
    return refused


class _Cleaner:
    """One walk through one event's properties: the containers being read, the bytes the record may still take."""

    __slots__ = ("_left", "_max_bytes", "_open", "has_rounded")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._left = max_bytes
        self.has_rounded = False
        self._open: set[int] = set()  # by identity; a refusal ends the walk, so only success takes one out

    def text(self, value: str) -> str:
        self._left -= len(value)
        if self._left < 0:
            raise self._too_large()
        if not value.isascii() or "\0" in value:
            fault = text_fault(value)
            if fault is not None:
                raise Refused(fault)
        return value

    def integer(self, value: int) -> int:
        number = int.__int__(value)
        if not -(2**53) <= number <= 2**53:  # EXACT_AS_FLOAT
            if not INT_MIN <= number <= INT_MAX:
                raise Refused("is outside the integers of 64 bits; str() of it is sent as text")
            self.has_rounded = True
        return number

    def converted(self, value: object) -> JsonValue:
        plainer = converted(value)
        if plainer is value:
            raise Refused(f"is of type {type_name(value)}, which has no form in JSON")
        return _cleaning_of(plainer)(self, plainer)

    def enumerated(self, value: Enum) -> JsonValue:
        inner = value.value
        if _is_enumerated(inner):
            raise Refused("is an Enum whose value is an Enum")
        return _cleaning_of(inner)(self, inner)

    def mapping(self, value: Mapping[object, object]) -> dict[str, JsonValue]:
        cleaned: dict[str, JsonValue] = {}
        for key, item in self._opened(value, value.items()):
            name = key if type(key) is str and key.isascii() and "\0" not in key else _clean_key(key)
            if name in cleaned:
                raise Refused(f"has two keys with the text {shown(name)}")
            try:
                self._left -= len(name)  # looked at with the next text or container
                cleaned[name] = (_EXACT.get(type(item)) or _cleaning_of(item))(self, item)
            except Exception as error:  # noqa: BLE001  # none is lost: it is the cause of the refusal
                raise _placed(error, path_step(name)) from None
        self._open.discard(id(value))
        return cleaned

    def sequence(self, value: Iterable[object], step: str = "[{}]") -> list[JsonValue]:
        cleaned = []
        for index, item in enumerate(self._opened(value, value)):
            try:
                cleaned.append((_EXACT.get(type(item)) or _cleaning_of(item))(self, item))
            except Exception as error:  # noqa: BLE001  # none is lost: it is the cause of the refusal
                raise _placed(error, step.format(index)) from None
        self._open.discard(id(value))
        return cleaned

    def unordered(self, value: Iterable[object]) -> list[JsonValue]:
        cleaned: list[Any] = self.sequence(value, "[*]")
        try:
            return sorted(cleaned)
        except TypeError:  # 1 and "a" have no order
            return cleaned

    def _opened(self, container: object, items: Iterable[Any]) -> tuple[Any, ...]:
        """Read what a container holds: at once, as another thread may be writing to it, and never endlessly."""
        if id(container) in self._open:
            raise Refused("contains itself")
        if len(self._open) == MAX_DEPTH:
            raise Refused(f"is nested more than {MAX_DEPTH} levels deep")
        self._open.add(id(container))
        held = tuple(islice(items, max(self._left, 0) + 1))
        self._left -= len(held)
        if self._left < 0:
            raise self._too_large()
        return held

    def _too_large(self) -> InvalidEvent:
        return InvalidEvent("event", f"takes more than {self._max_bytes} bytes, over max_event_bytes")


def _clean_key(key: object) -> str:
    name = plain_text(key)
    if name is None:
        raise Refused(f"has a key of type {type_name(key)}; JSON knows only str")
    fault = text_fault(name)
    if fault is not None:
        raise Refused(f"has a key {shown(name)} that {fault}")
    return name


def _finite(_: _Cleaner, value: float) -> float:
    number = float.__float__(value)
    if not isfinite(number):
        raise Refused("is not a finite number, which JSON cannot express")
    return number


def _itself(_: _Cleaner, value: bool | None) -> bool | None:  # noqa: FBT001  # a value, not a switch
    return value


_EXACT: dict[type, _Cleaning] = {
    str: _Cleaner.text,
    int: _Cleaner.integer,
    float: _finite,
    bool: _itself,
    type(None): _itself,
    dict: _Cleaner.mapping,
    list: _Cleaner.sequence,
    **dict.fromkeys((datetime, date, timedelta), _Cleaner.converted),
}

# For everything else but an Enum, and the first that fits counts.
_BY_CLASS: tuple[tuple[type | tuple[type, ...], _Cleaning], ...] = (
    (str, lambda cleaner, value: cleaner.text(str.__str__(value))),
    (int, _Cleaner.integer),
    (float, _finite),
    ((list, tuple), _Cleaner.sequence),
    ((set, frozenset), _Cleaner.unordered),
    (Mapping, _Cleaner.mapping),
)


def _cleaning_of(value: object) -> _Cleaning:
    exact = _EXACT.get(type(value))
    if exact is not None:
        return exact
    if _is_enumerated(value):  # before all of these: an IntEnum is an int
        return _Cleaner.enumerated
    for classes, cleaning in _BY_CLASS:
        if issubclass(type(value), classes):  # not isinstance(): a mock that pretends to be a dict would become {}
            return cleaning
    return _Cleaner.converted


def _is_enumerated(value: object) -> bool:
    enum = imported_class("enum", "Enum")
    return enum is not None and issubclass(type(value), enum)
