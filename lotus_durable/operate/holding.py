"""Changing what the books hold: with the flusher's lock held, in the place of the flusher.

A flusher that lives is asked to pause. It lets go of the lock after its request, waits, and goes on when it has the
lock again. So a change is made by the only process that has the books open, in the same transactions as a settlement: a
kill leaves it made or not made, and ends the pause, because a lock ends with its holder.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.delivery.control import Control
from lotus_durable.errors import QueueInUse
from lotus_durable.flusher import locks
from lotus_durable.flusher.life import Flusher
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.requests import ask
from lotus_durable.values import NamedTuple

from . import WAITING, Waiting

_T = TypeVar("_T")
_LOOK_INTERVAL = 0.01
_ASK_INTERVAL = 1.0
"""Seconds after which it is asked once more: one that was just starting may not have heard it."""


class Held(NamedTuple):
    """The queue, while no flusher has it."""

    directory: QueueDirectory
    consumer: Consumer
    """What a flusher has, too."""
    control: Control
    """Its ``beat_if_due`` is to be called between steps: others see a sign of life then."""

    def beating(self, steps: Iterable[_T]) -> Iterator[_T]:
        """Give these, with a sign of life between them."""
        for step in steps:
            self.control.beat_if_due()
            yield step


@contextlib.contextmanager
def held(config: Config, *, waiting: Waiting = WAITING) -> Iterator[Held]:
    """Have the queue, and let whoever flushed go on afterwards.

    Neither key nor host is needed.
    """
    flusher = Flusher(lambda: config, kind="caller", destination=None)
    _take_lock(flusher, waiting)
    try:
        before = read_beat(flusher.directory)
        control = flusher.make_control(before)
        consumer = flusher.open_consumer(control, before)
        try:
            control.show(consumer.progress())  # everybody can count what is in the books now
            yield Held(flusher.directory, consumer, control)
            consumer.make_safe()
        finally:
            control.show(consumer.progress())
            consumer.close()
            if flusher.lock.is_held():
                control.end("ended")
            control.close()
    finally:
        flusher.lock.release()


def _take_lock(flusher: Flusher, waiting: Waiting) -> None:
    directory = flusher.directory
    ends_at = monotonic() + waiting.seconds
    next_ask, reported_at = 0.0, monotonic() + 2 * _ASK_INTERVAL
    while not flusher.lock.acquire():
        now = monotonic()
        if flusher.lock.refusal is not None:
            raise QueueInUse(flusher.lock.refusal)
        if now >= ends_at:
            raise QueueInUse(f"{_who(directory)} and does not let go of the queue within {waiting.seconds:g} s")
        if now >= next_ask and locks.is_held(directory.flusher_lock) is not False:
            next_ask = now + _ASK_INTERVAL
            ask(directory, "pause")
        if now >= reported_at:
            reported_at = float("inf")
            waiting.tell(_who(directory))
        time.sleep(_LOOK_INTERVAL)


def _who(directory: QueueDirectory) -> str:
    beat = read_beat(directory)
    if beat is None or beat.is_over():
        return "another process has the flusher's lock"
    doing = "is in the middle of a request" if beat.in_flight is not None else f"flushes ({beat.state})"
    return f"process {beat.pid} on {beat.hostname} {doing}"
