"""What is kept of an event that is refused at the call, with ``on_invalid="report"``: what of it can be stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from reprlib import Repr
from time import time

from msgpack import packb

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.encoder import EventEncoder
from lotus_durable.event.ids import random_id
from lotus_durable.event.properties import clean_properties
from lotus_durable.event.record import decode_record, event_as_json_object
from lotus_durable.event.text import plain_text, text_fault, type_name
from lotus_durable.event.timestamps import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lotus_durable.event.record import JsonValue

    _Report = Callable[[InvalidEvent, Sequence[dict[str, Any]]], None]

_MOST_SHOWN = 255
"""Characters of one value that is no JSON, or too long; ids and names that the servers store are no longer."""

_MOST_KEYS = 1000
"""What is behind them is left out: a mapping may be endless."""

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = _MOST_SHOWN


class ReportingEncoder(EventEncoder):
    """An encoder that refuses nothing: what the other one refuses it reports, and packs as a refused record.

    Args:
        max_event_bytes: the most bytes a record may have, also of a refused event.
        max_event_name: the most characters of an event name.
        report: told of each refusal, with the wire's fields of what is kept.
    """

    __slots__ = ("_most_bytes", "_report")

    def __init__(self, max_event_bytes: int, max_event_name: int, report: _Report) -> None:
        super().__init__(max_event_bytes, max_event_name)
        self._most_bytes = max_event_bytes
        self._report = report

    def encode(
        self, customer_id: object, event_name: object, properties: object, time_created: object, idempotency_id: object
    ) -> tuple[str, bytes]:
        """Check one event and pack it, or what can be shown of it; returns its id and its record."""
        try:
            return super().encode(customer_id, event_name, properties, time_created, idempotency_id)
        except InvalidEvent as refused:
            event_id = ("" if idempotency_id is None else _shown(idempotency_id)) or random_id()
            now = time() + 0.0
            fields = [event_id, _shown(customer_id), _shown(event_name), _shown_time(time_created, now)]
            record: bytes = packb([*fields, self._shown_properties(properties), now, str(refused)])
            if len(record) > self._most_bytes:
                record = packb([*fields, {"properties": _shown(properties)}, now, str(refused)[:_MOST_SHOWN]])
            self._report(refused, [event_as_json_object(decode_record(record))])
            return event_id, record

    def _shown_properties(self, properties: Any) -> dict[str, JsonValue]:  # noqa: ANN401
        """Return what is right of them as it is, and what is not as text."""
        if properties is None:
            return {}
        try:
            is_mapping = issubclass(type(properties), Mapping)
            given = dict(islice(properties.items(), _MOST_KEYS)) if is_mapping else {"properties": properties}
        except Exception:  # noqa: BLE001  # another one's code, and it is refused already
            return {"properties": _shown(properties)}
        found: dict[str, JsonValue] = {}
        for key, value in given.items():
            try:
                found.update(clean_properties({key: value}, self._most_bytes))
            except InvalidEvent:
                found[_shown(key)] = _shown(value)
        return found


def _shown_time(value: object, now: float) -> str:
    return Clock().text(now) if value is None else _shown(value)


def _shown(value: object) -> str:
    """Write anything as text that can be stored, cut short."""
    text = plain_text(value)
    if text is None or text_fault(text) or len(text) > _MOST_SHOWN:
        try:
            text = ascii(text)[1:-1] if text is not None else _repr.repr(value)
        except Exception:  # noqa: BLE001  # another one's code, and it is refused already
            text = type_name(value)
        text = text.encode("ascii", "backslashreplace").decode()[:_MOST_SHOWN]
    return text
