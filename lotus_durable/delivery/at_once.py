"""Sending one event and waiting for its verdict (``sync_mode``)."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .transport import Transport
from .verdict import Dead, Delivered, Settled, judge
from .wire import body, encode_event


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event was not delivered."""

    reason: str
    is_final: bool
    """The server refuses this very event for good; otherwise it can be tried again."""


def send_at_once(transport: Transport, record: bytes) -> Refusal | None:
    """Send one event; return None when the server has it."""
    idempotency_id, time_created, event = encode_event(record)
    outcome = judge(transport.post_batch(body([event])), [idempotency_id], [time_created], now=time.time())
    if not isinstance(outcome, Settled):
        return Refusal(outcome.reason, is_final=False)
    [verdict] = outcome.verdicts
    if isinstance(verdict, Delivered):
        return None
    # An answer that any request might have got (probe_first) says nothing about this event.
    return Refusal(verdict.reason, is_final=isinstance(verdict, Dead) and not verdict.probe_first)
