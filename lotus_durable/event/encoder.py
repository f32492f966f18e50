"""From the arguments of ``track_event`` to a record: what an event may be is checked here. No I/O.

``customer_id`` may be an ``int`` and is kept as its digits, as the original client did; ``True`` and ``1.0`` are not
ids. No text is trimmed, and blanks are text. Nothing is refused for its age: the servers differ about that.

The limits are those of the columns in the servers' databases. The servers answer 201 to what does not fit, too. Then
the server of 2022 loses the whole batch, and that of 2024 tries to store it for ever and stores nothing else of any
customer. So such an event is refused at the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time

from msgpack import Packer

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.ids import MOMENT, NINE_DIGITS, beginnings, now
from lotus_durable.event.properties import INT_MAX, INT_MIN, clean_properties, warning_was_given
from lotus_durable.event.text import plain_text, text_fault, type_name
from lotus_durable.event.timestamps import clean_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lotus_durable.event.record import JsonValue

ARGUMENTS = ("customer_id", "event_name", "properties", "time_created", "idempotency_id")
"""Of ``track_event``, in the order in which :meth:`EventEncoder.encode` takes them."""

MAX_CUSTOMER_ID = 50
"""Characters of a customer id the server of 2024 stores; the one of 2022 makes no customer whose id has over 40."""

MAX_EVENT_NAME = 100
"""Characters of an event name both servers store."""

MAX_EVENT_NAME_2022 = 200
"""Characters of an event name the server of 2022 stores."""

MAX_IDEMPOTENCY_ID = 255
"""Characters of an idempotency id both servers store."""


def longest_event_name(generation: str | None) -> int:
    """Return how many characters of an event name a server stores; the fewest that any does, if it is not known."""
    return MAX_EVENT_NAME_2022 if generation == "2022" else MAX_EVENT_NAME


PACKS_SLOWLY = Packer.__module__ == "msgpack.fallback"
"""Whether msgpack runs without its compiled part: in sub-interpreters it does, and says nothing."""


class EventEncoder:
    """Turns the arguments of ``track_event`` into records.

    An encoder belongs to one process and to one caller at a time: it holds random ids not yet given out and a packer.
    After a fork the child has to make an encoder of its own, or parent and child give out the same ids. Threads need a
    lock around ``encode``, or an encoder each.

    Args:
        max_event_bytes: the most bytes a record may have. The JSON sent for it is at most about six times as long (a
            control character is one byte here and six there).
        max_event_name: the most characters of an event name; ``MAX_EVENT_NAME_2022`` where the server is known to be
            that one.
    """

    __slots__ = ("_beginnings", "_last_name", "_max_event_bytes", "_max_event_name", "_pack")

    def __init__(self, max_event_bytes: int, max_event_name: int = MAX_EVENT_NAME) -> None:
        self._max_event_bytes = max_event_bytes
        self._max_event_name = max_event_name
        self._beginnings: list[str] = []
        self._last_name: object = object()  # no name is this one
        self._pack = _packer()

    def encode(  # noqa: C901, PLR0912, PLR0915  # in one function: a call of another costs as much as three checks
        self, customer_id: object, event_name: object, properties: object, time_created: object, idempotency_id: object
    ) -> tuple[str, bytes]:
        """Check one event and pack it; the arguments are those of ``track_event``, None where the caller left one out.

        Returns:
            The idempotency id (the given one, or a random UUID) and the record.

        Raises:
            InvalidEvent: names the argument, or the path in ``properties``, and the reason. The encoder stays usable.
        """
        accepted_at = time() + 0.0  # a clock that a test has replaced may say an int, and a record has a float
        time_text = None
        # Of the years 1 to 9999: their beginning and end, written out, as a number costs less than its name.
        if time_created is not None or not -62_135_596_800.0 <= accepted_at < 253_402_300_800.0:  # noqa: PLR2004
            time_text = clean_time(time_created)
        if type(customer_id) is not str or not 0 < len(customer_id) <= MAX_CUSTOMER_ID or "\0" in customer_id:
            customer_id = _clean_customer_id(customer_id)
        if event_name is not self._last_name:  # programs name events by literals: checked once while it is the same one
            if type(event_name) is not str or not 0 < len(event_name) <= self._max_event_name or "\0" in event_name:
                event_name = _clean_text("event_name", event_name, self._max_event_name)
            self._last_name = event_name
        if idempotency_id is None:
            try:
                beginning = self._beginnings.pop()
            except IndexError:
                self._beginnings = beginnings()
                beginning = self._beginnings.pop()
            chosen_id = beginning + str((now() & MOMENT) + NINE_DIGITS)
        else:
            chosen_id = _clean_text("idempotency_id", idempotency_id, MAX_IDEMPOTENCY_ID)
        plain: Mapping[str, JsonValue]
        if properties is None:
            plain = {}
        elif type(properties) is dict:
            plain = properties.copy()  # in one step: another thread may be writing to the caller's dict
            for key in plain:
                # Flat, of exact types, nothing to convert or to say: as it is. No code of the values is run for that.
                if type(key) is str and "\0" not in key:
                    value = plain[key]
                    kind = type(value)
                    if kind is str:
                        if "\0" not in value:
                            continue
                    elif kind is int:
                        # Integers of 30 bits Python compares at once, so they come first; 2**53 is EXACT_AS_FLOAT,
                        # written out: Python works it out once, and not for each value.
                        if (
                            -(2**30) < value < 2**30
                            or -(2**53) <= value <= 2**53
                            or (warning_was_given() and INT_MIN <= value <= INT_MAX)
                        ):
                            continue
                    elif kind is float:
                        if value - value == 0.0:  # unlike NaN and infinity
                            continue
                    elif kind is bool or value is None:
                        continue
                plain = clean_properties(plain, self._max_event_bytes, warns=True)
                break
        else:
            plain = clean_properties(properties, self._max_event_bytes, warns=True)
        try:
            pack = self._pack  # in two steps: Python 3.11 looks for a method longer
            record: bytes = pack((chosen_id, customer_id, event_name, time_text, plain, accepted_at))
        except ValueError as error:
            self._pack = _packer()
            raise self._unpackable(customer_id, event_name, plain) from error
        if len(record) > self._max_event_bytes:
            self._pack = _packer()
            raise InvalidEvent("event", f"takes {len(record)} bytes, over max_event_bytes ({self._max_event_bytes})")
        return chosen_id, record

    def _unpackable(self, customer_id: object, event_name: object, plain: object) -> InvalidEvent:
        """Find what msgpack could not encode: the checks before it leave lone surrogates to it."""
        try:
            _clean_customer_id(customer_id)
            _clean_text("event_name", event_name, self._max_event_name)
            clean_properties(plain, self._max_event_bytes)
        except InvalidEvent as refused:
            return refused
        return InvalidEvent("event", "cannot be written as msgpack")


def _clean_customer_id(value: object) -> str:
    if issubclass(type(value), int) and type(value) is not bool:
        number = int.__int__(value)  # type: ignore[arg-type]
        if abs(number) >= 10**MAX_CUSTOMER_ID:  # not written to be counted: Python writes no int of 5,000 digits
            raise _too_long("customer_id", f"more than {MAX_CUSTOMER_ID}", MAX_CUSTOMER_ID)
        value = str(number)
    return _clean_text("customer_id", value, MAX_CUSTOMER_ID)


def _clean_text(field: str, value: object, max_length: int) -> str:
    """Check an id or a name.

    No number but a whole ``customer_id`` is turned into text: the servers compare as text, where 1 and 1.0 differ.
    """
    if value is None:
        raise InvalidEvent(field, "is required")
    text = plain_text(value)
    if text is None:
        raise InvalidEvent(field, f"must be a str, not {type_name(value)}; pass str({field}) if that is its text")
    if not text:
        raise InvalidEvent(field, "must not be empty")
    if len(text) > max_length:
        raise _too_long(field, str(len(text)), max_length)
    fault = text_fault(text)
    if fault is not None:
        raise InvalidEvent(field, fault)
    return text


def _too_long(field: str, length: str, most: int) -> InvalidEvent:
    whose = "the server of 2024 stores" if most in {MAX_CUSTOMER_ID, MAX_EVENT_NAME} else "the servers store"
    unless = f', and {MAX_EVENT_NAME_2022} with api_version="2022"' if most == MAX_EVENT_NAME else ""
    return InvalidEvent(field, f"has {length} characters; {whose} at most {most}{unless}")


def _packer() -> Callable[[object], bytes]:
    """Make a packer; a new one after a refusal, because a packer keeps a buffer as large as its largest record."""
    pack: Callable[[object], bytes] = Packer().pack
    return pack
