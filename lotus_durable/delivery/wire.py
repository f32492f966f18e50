"""Events as JSON: one, and the body of a request.

Events are encoded one at a time on purpose: encoding a whole batch in one C call holds the interpreter lock for the
whole call, and a program that flushes in its own ``drain()`` shares it with its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from json import JSONEncoder
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]  # typeshed has only half
from typing import TypeAlias

from lotus_durable.event.record import RecordError, first_words, unpack_record

Dumps: TypeAlias = Callable[[object], bytes]
"""Turns plain values into compact UTF-8 JSON; TypeError, ValueError or RecursionError for what JSON cannot hold."""

_IN_NO_FINITE = (0x7F, 0xFF)
"""One of these bytes is in each NaN and infinity of MessagePack, in its sign and exponent. To look for both in a record
takes a fraction of the time that encoding it does; to look for "null" in what orjson wrote takes as long as orjson."""

# Not ensure_ascii: it is no faster, and \uXXXX would make the size of a batch depend on which encoder is installed.
# The circle check costs, and what msgpack unpacked has no circles.
# JSONEncoder.encode makes the same C encoder anew for each event, which takes a third of the time.
_encode_in_c = c_make_encoder and c_make_encoder(
    None, JSONEncoder().default, encode_basestring, None, ":", ",", *(False, False, False)
)
_stdlib_encode = JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False).encode


def encode_event(record: bytes | memoryview) -> tuple[str, str, bytes]:
    """Turn one record into what is sent, and what its verdict will be found by.

    Returns:
        ``(idempotency_id, time_created, event)``, the last one compact JSON in UTF-8.

    Raises:
        RecordError: the bytes are no record, or JSON cannot hold it; the message says why and quotes no value.
    """
    idempotency_id, customer_id, event_name, time_created, properties, _ = unpack_record(record)
    event = {  # event_as_json_object, without an Event in between
        "event_name": event_name,
        "customer_id": customer_id,
        "idempotency_id": idempotency_id,
        "time_created": time_created,
        "properties": properties,
    }
    is_finite = _IN_NO_FINITE[0] not in record and _IN_NO_FINITE[1] not in record
    if is_finite and (quick_dumps := orjson_dumps()) is not None:
        try:
            return idempotency_id, time_created, quick_dumps(event)
        except TypeError:
            pass  # it gives up at 254 levels, say; the other one knows what is really wrong
    try:
        return idempotency_id, time_created, stdlib_dumps(event)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"the record cannot be written as JSON: {first_words(error)}") from None


def body(events: Sequence[bytes | memoryview]) -> bytes:
    """Join encoded events to the body of one request: 11 bytes and a comma between two more than their sum."""
    return b'{"batch":[' + b",".join(events) + b"]}"


@cache
def orjson_dumps() -> Dumps | None:
    """Return orjson's encoder, which writes NaN and infinity as null; None where it is not installed."""
    try:
        from orjson import dumps
    except ImportError:
        return None
    return dumps


def stdlib_dumps(value: object) -> bytes:
    """Encode with the standard library.

    Raises:
        TypeError: a value JSON does not have (bytes, a msgpack extension type).
        ValueError: NaN or infinity.
        RecursionError: nested too deeply.
    """
    if _encode_in_c is not None:
        return "".join(_encode_in_c(value, 0)).encode()
    return _stdlib_encode(value).encode()
