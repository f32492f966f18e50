"""Events as JSON, some at a time.

A whole batch is not encoded at once: one call in C holds the interpreter lock to its end, and a program that flushes in
its own ``drain()`` shares it with its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from json import JSONEncoder
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]  # typeshed has only half
from typing import TypeAlias

from lotus_durable.event.encoder import MAX_EVENT_NAME
from lotus_durable.event.record import RecordError, first_words, unpack_records

Dumps: TypeAlias = Callable[[object], bytes]
"""Turns plain values into compact UTF-8 JSON; TypeError, ValueError or RecursionError for what JSON cannot hold."""

_FLOATS = (0xCA, 0xCB)
_EXPONENTS = (b"\x7f", b"\xff")
"""In MessagePack each NaN and infinity begins with one of the first and one of the second: the kind, and then the sign
and the greatest exponent. To look for these takes a fraction of the time that encoding does; to look for "null" in what
orjson wrote takes as long as orjson."""

# Not ensure_ascii: it is no faster, and \uXXXX would make the size of a batch depend on which encoder is installed.
# The circle check costs, and what msgpack unpacked has no circles.
# JSONEncoder.encode makes the same C encoder anew for each event, which takes a third of the time.
_encode_in_c = c_make_encoder and c_make_encoder(
    None, JSONEncoder().default, encode_basestring, None, ":", ",", *(False, False, False)
)
_stdlib_encode = JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False).encode


def encode_events(
    records: Sequence[bytes], longest_name: int = MAX_EVENT_NAME
) -> tuple[Sequence[str], Sequence[str], Sequence[bytes]]:
    """Do what :meth:`.place.Place.encode` does, for Lotus: the events are compact JSON in UTF-8.

    An event name may have so many characters. The server of 2024 takes a longer one, tries to store it for ever, and
    stores nothing that comes after it, of any customer: so it must not get one.

    Raises:
        RecordError: one of them is no record, its name is too long, or JSON cannot hold it.
    """
    ids, customers, names, times, properties, _ = unpack_records(records)
    longest = max(map(len, names))
    if longest > longest_name:
        raise RecordError(f"event_name has {longest} characters, and this server stores at most {longest_name}")
    events = [
        {  # event_as_json_object, without an Event in between
            "event_name": name,
            "customer_id": customer,
            "idempotency_id": id_,
            "time_created": time,
            "properties": its,
        }
        for id_, customer, name, time, its in zip(ids, customers, names, times, properties, strict=True)
    ]
    quick_dumps = orjson_dumps()
    if quick_dumps is not None and _is_finite(b"".join(records)):
        try:
            return ids, times, [*map(quick_dumps, events)]
        except TypeError:
            pass  # it gives up at 254 levels, say; the other one knows what is really wrong
    try:
        return ids, times, [*map(stdlib_dumps, events)]
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"the record cannot be written as JSON: {first_words(error)}") from None


def _is_finite(packed: bytes) -> bool:
    """Whether there is neither NaN nor infinity in it. Of other bytes that look like one it may say no, seldom."""
    for exponent in _EXPONENTS:
        place = packed.find(exponent)
        while place > 0:
            if packed[place - 1] in _FLOATS:
                return False
            place = packed.find(exponent, place + 1)
    return True


@cache
def orjson_dumps() -> Dumps | None:
    """Return orjson's encoder, which writes NaN and infinity as null; None where it is not installed."""
    try:
        from orjson import dumps
    except ImportError:
        return None
    return dumps


def stdlib_dumps(value: object) -> bytes:
    """Encode with the standard library, which refuses NaN and infinity."""
    if _encode_in_c is not None:
        return "".join(_encode_in_c(value, 0)).encode()
    return _stdlib_encode(value).encode()
