"""What may stand in an event's ``properties``, and what it becomes.

The servers take a JSON object. Everything in it is checked to the leaf before the event is accepted, because one bad
value costs more than its own event: over a NUL character or a NaN the server of 2022 loses the whole batch, and the
one of 2024 refuses it.

=================================================  ===============================================================
given                                              becomes
=================================================  ===============================================================
``str`` without NUL and lone surrogates            itself
``bool``, ``None``                                 itself
``int`` within signed 64 bits                      itself
finite ``float``                                   itself
finite ``Decimal``                                 the nearest ``float``; refused where that would be infinity
``datetime``                                       RFC 3339 text in UTC, as ``time_created`` (naive is UTC)
``date``                                           ``YYYY-MM-DD``
``UUID``                                           its text
``Enum``                                           its value, cleaned like any other
``dict`` and other ``Mapping`` with ``str`` keys   ``dict``
``list``, ``tuple``                                ``list``
``set``, ``frozenset``                             ``list``, sorted if what is in it can be compared
a subclass of one of these                         the plain type
=================================================  ===============================================================

Anything else is refused with its path, for example ``properties.items[3].price``. Containers may be nested
``MAX_DEPTH`` deep, ``properties`` itself being the first. What is given is never changed, and none of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from itertools import islice
from math import inf, isfinite
from typing import Any, TypeAlias, cast
from uuid import UUID

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.timestamps import utc_text

JsonValue: TypeAlias = "str | int | float | list[JsonValue] | dict[str, JsonValue] | None"
"""What JSON can say, in the plain types of Python (a ``bool`` is an ``int``)."""

MAX_DEPTH = 64
"""How deep containers may be nested: far more than events need, far less than any JSON parser on the way refuses."""

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_LONGEST_KEY_SHOWN = 60


def is_plain(properties: dict[Any, Any]) -> bool:
    """Say whether ``properties`` can be taken as they are: flat, of exact types, nothing to convert or refuse.

    The quick way, for the usual event. It runs no code of the values, so nothing can go wrong in it. Lone surrogates
    are left to msgpack, which has to look at every character anyway.
    """
    for key, value in properties.items():
        if type(key) is not str or "\0" in key:
            return False
        kind = type(value)
        if kind is str:
            if "\0" in value:
                return False
        elif kind is int:
            if not INT_MIN <= value <= INT_MAX:
                return False
        elif kind is float:
            if not -inf < value < inf:
                return False
        elif kind is not bool and value is not None:
            return False
    return True


def clean_properties(properties: object, max_bytes: int) -> dict[str, JsonValue]:
    """Copy ``properties`` into plain JSON types, following the table above.

    ``max_bytes`` is where work on something endless ends (a generator behind ``items()``, lists that hold one another
    many times over): as soon as the record is certain to take more.

    Raises:
        InvalidEvent: with the path of the first value refused. What code of a value raised is chained to it.
    """
    try:
        if not issubclass(type(properties), Mapping):
            raise _Refused(f"must be a mapping such as a dict, not {type_name(properties)}")
        return _Cleaner(max_bytes).mapping(cast("Mapping[object, object]", properties))
    except Exception as error:  # noqa: BLE001  # none is lost: it is the cause of the refusal
        refused = _placed(error, "properties")
        if isinstance(refused, InvalidEvent):
            raise refused from None
        raise InvalidEvent("".join(reversed(refused.path)), refused.reason) from refused.cause


def plain_text(value: object) -> str | None:
    """Give the characters of a ``str`` or of any subclass as a ``str``, whatever the subclass overrides; else None."""
    return str.__str__(cast("str", value)) if issubclass(type(value), str) else None


def text_fault(text: str) -> str | None:
    """Say what about ``text`` the servers cannot store, or None."""
    if "\0" in text:
        return "contains a NUL character, which the servers cannot store"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "contains a lone surrogate, which is not valid Unicode text"
    return None


def type_name(value: object) -> str:
    """Name the type of anything, even of an object whose metaclass raises."""
    try:
        return str.__str__(type(value).__name__)
    except Exception:  # noqa: BLE001  # the name is for a message about something refused already
        return "something without a type name"


class _Refused(Exception):
    """A value is refused. Its path is put together on the way up, innermost step first: the good case pays nothing."""

    def __init__(self, reason: str, cause: Exception | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
        self.path: list[str] = []


def _placed(error: Exception, step: str) -> _Refused | InvalidEvent:
    """Add one step of the path to whatever was raised below it; a foreign exception becomes a refusal here."""
    if isinstance(error, InvalidEvent):
        return error
    refused = error if isinstance(error, _Refused) else _Refused(f"cannot be read: {type_name(error)}", error)
    refused.path.append(step)
    return refused


class _Cleaner:
    """One walk through one event's properties: the containers being read, the bytes the record may still take."""

    __slots__ = ("_max_bytes", "_open", "_room")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._room = max_bytes
        self._open: set[int] = set()  # by identity; a refusal ends the walk, so only success takes one out

    def text(self, value: str) -> str:
        self._room -= len(value)
        if self._room < 0:
            raise self._too_large()
        if not value.isascii() or "\0" in value:
            fault = text_fault(value)
            if fault is not None:
                raise _Refused(fault)
        return value

    def enumerated(self, value: Enum) -> JsonValue:
        inner = value.value
        if issubclass(type(inner), Enum):
            raise _Refused("is an Enum whose value is an Enum")
        return _cleaning_of(inner)(self, inner)

    def mapping(self, value: Mapping[object, object]) -> dict[str, JsonValue]:
        cleaned: dict[str, JsonValue] = {}
        for key, item in self._opened(value, value.items()):
            name = key if type(key) is str and key.isascii() and "\0" not in key else _clean_key(key)
            if name in cleaned:
                raise _Refused(f"has two keys with the text {_shown(name)}")
            try:
                self._room -= len(name)  # looked at with the next text or container
                cleaned[name] = (_EXACT.get(type(item)) or _cleaning_of(item))(self, item)
            except Exception as error:  # noqa: BLE001  # none is lost: it is the cause of the refusal
                raise _placed(error, _step(name)) from None
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
            raise _Refused("contains itself")
        if len(self._open) == MAX_DEPTH:
            raise _Refused(f"is nested more than {MAX_DEPTH} levels deep")
        self._open.add(id(container))
        held = tuple(islice(items, max(self._room, 0) + 1))
        self._room -= len(held)
        if self._room < 0:
            raise self._too_large()
        return held

    def _too_large(self) -> InvalidEvent:
        return InvalidEvent("event", f"takes more than {self._max_bytes} bytes, over max_event_bytes")


def _clean_key(key: object) -> str:
    name = plain_text(key)
    if name is None:
        raise _Refused(f"has a key of type {type_name(key)}; JSON knows only str")
    fault = text_fault(name)
    if fault is not None:
        raise _Refused(f"has a key {_shown(name)} that {fault}")
    return name


def _integer(_: _Cleaner, value: int) -> int:
    number = int.__int__(value)
    if not INT_MIN <= number <= INT_MAX:
        raise _Refused("is outside the integers of 64 bits")
    return number


def _finite(_: _Cleaner, value: float) -> float:
    number = float.__float__(value)
    if not isfinite(number):
        raise _Refused("is not a finite number, which JSON cannot express")
    return number


def _decimal(_: _Cleaner, value: Decimal) -> float:
    if not Decimal.is_finite(value):
        raise _Refused("is not a finite number, which JSON cannot express")
    nearest = Decimal.__float__(value)
    if not isfinite(nearest):
        raise _Refused("is too large for a float of 64 bits")
    return nearest


def _itself(_: _Cleaner, value: bool | None) -> bool | None:  # noqa: FBT001  # a value, not a switch
    return value


def _step(name: str) -> str:
    return f".{name}" if name.isidentifier() and len(name) <= _LONGEST_KEY_SHOWN else f"[{_shown(name)}]"


def _shown(name: str) -> str:
    # ascii(): a message with a lone surrogate in it cannot be written to any log.
    return ascii(name if len(name) <= _LONGEST_KEY_SHOWN else f"{name[:_LONGEST_KEY_SHOWN]}...")


_Cleaning = Callable[[_Cleaner, Any], JsonValue]

_EXACT: dict[type, _Cleaning] = {
    str: _Cleaner.text,
    int: _integer,
    float: _finite,
    bool: _itself,
    type(None): _itself,
    dict: _Cleaner.mapping,
    list: _Cleaner.sequence,
}

# For everything else, and the first that fits counts: an IntEnum is an Enum, a datetime is no mere date.
_BY_CLASS: tuple[tuple[type | tuple[type, ...], _Cleaning], ...] = (
    (Enum, _Cleaner.enumerated),
    (str, lambda cleaner, value: cleaner.text(str.__str__(value))),
    (int, _integer),
    (float, _finite),
    (Decimal, _decimal),
    (datetime, lambda cleaner, value: cleaner.text(utc_text(value))),
    (date, lambda cleaner, value: cleaner.text(date.isoformat(value))),
    (UUID, lambda cleaner, value: cleaner.text(UUID.__str__(value))),
    ((list, tuple), _Cleaner.sequence),
    ((set, frozenset), _Cleaner.unordered),
    (Mapping, _Cleaner.mapping),
)


def _cleaning_of(value: object) -> _Cleaning:
    exact = _EXACT.get(type(value))
    if exact is not None:
        return exact
    for classes, cleaning in _BY_CLASS:
        if issubclass(type(value), classes):  # not isinstance(): a mock that pretends to be a dict would become {}
            return cleaning
    raise _Refused(f"is of type {type_name(value)}, which has no form in JSON")
