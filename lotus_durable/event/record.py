"""What an event is: its record on disk, and its form on the wire. No I/O.

A *record* is the event as msgpack, an array of exactly six elements::

    [idempotency_id str, customer_id str, event_name str, time_created str or nil, properties map, accepted_at float]

One of seven is an event that was refused at the call, and kept by ``on_invalid="report"``: the seventh is the reason,
and what could not be taken of the others stands there as text. It is never sent.

``accepted_at`` is when ``track_event`` was called, in unix seconds. ``time_created`` is RFC 3339 in UTC with ``Z``; nil
where the caller gave none: the event is of the moment at which it was accepted, which who reads it writes as text, so
that it costs the call nothing and the disk no bytes. What may stand in ``properties`` is the table in
``lotus_durable.event.properties``; which times are understood is in ``lotus_durable.event.timestamps``.
"""

from __future__ import annotations

from itertools import chain
from math import isfinite

from msgpack import unpackb
from msgpack.exceptions import UnpackException

from lotus_durable.errors import InvalidEvent, LotusError
from lotus_durable.event.timestamps import Clock
from lotus_durable.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

MAX_DEPTH = 64
"""How deep containers may be nested: far more than events need, far less than any JSON parser on the way refuses."""

JsonValue: TypeAlias = "str | int | float | list[JsonValue] | dict[str, JsonValue] | None"
"""What JSON can say, in the plain types of Python (a ``bool`` is an ``int``)."""

Fields: TypeAlias = "tuple[str, str, str, str, dict[str, JsonValue], float]"
"""The six fields of a record, in its order; the time as text."""

_SHAPE = {
    "idempotency_id": str,
    "customer_id": str,
    "event_name": str,
    "time_created": str,
    "properties": dict,
    "accepted_at": float,
}


_text_of = Clock().text

EVENT = b"\x96"
"""How every other record begins: an array of six."""

REFUSED_AT_CALL = b"\x97"
"""How the record of an event begins that was refused at the call: an array of seven."""


class RecordError(LotusError, ValueError):
    """These bytes are not a record of an event to be sent."""


class RefusedAtCall(RecordError):
    """It is one that was refused at the call; the message is the reason.

    Attributes:
        fields: the other six.
    """

    def __init__(self, reason: str, fields: Sequence[Any]) -> None:
        super().__init__(reason)
        self.fields = fields


class Event(NamedTuple):
    """One accepted event."""

    idempotency_id: str
    customer_id: str
    event_name: str
    time_created: str
    properties: dict[str, JsonValue]
    accepted_at: float


def unpack_record(record: bytes | memoryview) -> Fields:
    """Read a record back, as far as its shape goes: what stands in the properties is left to who writes them as JSON.

    Raises:
        RefusedAtCall: for one of seven.
        RecordError: for anything but the fields of their types; the message quotes no value.
    """
    try:
        fields: Fields = unpackb(record)  # as it is hoped; the rest makes sure
    except (ValueError, TypeError, OverflowError, UnpackException) as error:
        raise RecordError(f"the record is not msgpack: {first_words(error)}") from None
    try:
        # No look at the type of the six: only an array can have a map and a float among them.
        idempotency_id, customer_id, event_name, time_created, properties, accepted_at = fields
    except (ValueError, TypeError):
        raise _misshapen(fields) from None
    if time_created is None and type(accepted_at) is float:
        try:
            time_created = _text_of(accepted_at)
        except InvalidEvent:
            raise RecordError("the record's accepted_at is no time") from None
        fields = (idempotency_id, customer_id, event_name, time_created, properties, accepted_at)
    if (
        type(idempotency_id) is type(customer_id) is type(event_name) is type(time_created) is str
        and type(properties) is dict
        and type(accepted_at) is float
        and idempotency_id
    ):
        return fields
    raise _misshapen(fields)


def unpack_records(records: Sequence[bytes]) -> Sequence[Sequence[Any]]:
    """Read one record or more as :func:`unpack_record` does, in half the time, and return them as columns.

    Returns:
        The ids, the customers, the names, the times as text, the properties, and when they were accepted.

    Raises:
        RecordError: for one of them, as there.
    """
    try:
        ids, customers, names, given, properties, accepted = zip(*map(unpackb, records), strict=True)
        times = [_text_of(moment) if text is None else text for text, moment in zip(given, accepted, strict=True)]
        "".join(chain(ids, customers, names, times))  # TypeError where one is no text; it takes a tenth of a look
        if all(ids) and {*map(type, properties)} == {dict} and {*map(type, accepted)} == {float}:
            return ids, customers, names, times, properties, accepted
    except (ValueError, TypeError, OverflowError, UnpackException, InvalidEvent):
        pass
    return [*zip(*map(unpack_record, records), strict=True)]  # which one it is, and what is wrong


def decode_record(record: bytes | memoryview) -> Event:
    """Read a record back as the event, to the leaf: what comes out JSON can express; of a refused event, too.

    Raises:
        RecordError: for anything else.
    """
    try:
        event = Event(*unpack_record(record))
    except RefusedAtCall as refused:
        event = Event(*refused.fields)
    if not _is_json(event.properties, MAX_DEPTH):
        raise RecordError("the record's properties are not a JSON object")
    if not isfinite(event.accepted_at):
        raise RecordError("the record's accepted_at is not a finite number")
    return event


def event_as_json_object(event: Event) -> dict[str, JsonValue]:
    """Give the five fields of an event in ``{"batch": [...]}`` as ``POST /api/track/`` takes them."""
    return {
        "event_name": event.event_name,
        "customer_id": event.customer_id,
        "idempotency_id": event.idempotency_id,
        "time_created": event.time_created,
        "properties": event.properties,
    }


def _is_json(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(type(key) is str and _is_json(item, depth - 1) for key, item in value.items())
    if isinstance(value, list):
        return depth > 0 and all(_is_json(item, depth - 1) for item in value)
    if isinstance(value, float):
        return isfinite(value)
    return value is None or isinstance(value, str | int)


def _misshapen(fields: Any) -> RecordError:  # noqa: ANN401  # whatever msgpack made of the bytes
    size = len(_SHAPE)
    if type(fields) is not list or not (len(fields) == size or (len(fields) == size + 1 and type(fields[size]) is str)):
        return RecordError(f"the record is not an array of {size}")
    for (name, expected), value in zip(_SHAPE.items(), fields[:size], strict=True):
        if type(value) is not expected:
            return RecordError(f"the record's {name} is {type(value).__name__}, not {expected.__name__}")
    if not fields[0]:
        return RecordError("the record's idempotency_id is empty")
    return RefusedAtCall(fields[size], fields[:size])


def first_words(error: Exception) -> str:
    """Say what an error is about; not its whole message, which may quote the event, and an event is a customer's."""
    return type(error).__name__ if isinstance(error, UnicodeError) else str(error)[:80]
