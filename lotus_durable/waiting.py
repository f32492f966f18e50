"""Waiting for what this process tracked: at its end, in ``join``, and for each event of ``sync_mode``."""

from __future__ import annotations

import contextlib
import time

from lotus_durable.clock import monotonic, since_boot
from lotus_durable.disk import DiskErrorsSuppressed
from lotus_durable.errors import LotusError
from lotus_durable.log import counted, logger
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.requests import ask
from lotus_durable.tracker import Tracker

_LOOK_INTERVAL = 0.01
"""Seconds between two looks at the heartbeat."""


def wait_until_settled(tracker: Tracker, ends_at: float) -> None:
    """Wait until what this process tracked is settled, unless the server takes nothing now."""
    with contextlib.suppress(LotusError), DiskErrorsSuppressed():
        written = tracker.written()
        if tracker.is_settled(written) and not tracker.in_memory():
            return
        tracker.look_now()
        if tracker.look.why_none_is_started() is not None and not tracker.look.somebody_flushes():
            return
        asked_at = since_boot()
        number = ask(tracker.directory, "drain")
        if not _is_settled_by(tracker, ends_at, written, number, asked_at):
            _say_what_is_left(tracker)


def _is_settled_by(tracker: Tracker, ends_at: float, written: dict[str, int], number: int, asked_at: float) -> bool:
    interval = tracker.config.constants.trusted_look
    next_look = monotonic() + interval
    while not tracker.is_settled(written):
        now = monotonic()
        beat = read_beat(tracker.directory)
        # An older beat may be of one that was killed: whoever has the lock now knows nothing of its trouble.
        is_of_now = beat is not None and beat.age() < since_boot() - asked_at
        is_in_trouble = beat is not None and is_of_now and beat.state in ("retrying", "blocked")
        is_away = is_in_trouble and tracker.look.somebody_flushes()
        # Asked to try all there is it has said why it cannot: the events are another key's, say.
        is_refused = beat is not None and beat.asked >= number and beat.answer is not None
        if now >= ends_at or is_away or is_refused or tracker.look.cannot_start():
            return False
        if now >= next_look:
            next_look = now + interval
            tracker.look_now()
        time.sleep(_LOOK_INTERVAL)
    return True


def _say_what_is_left(tracker: Tracker) -> None:
    from lotus_durable.flusher.stats import collect

    stats = collect(tracker.directory)
    beat = read_beat(tracker.directory)
    reason = None if beat is None or beat.is_over() else beat.reason or beat.answer
    logger.warning(
        "%s left on disk in %s (%s); %s",
        counted(stats.pending, "event"),
        tracker.directory.root,
        reason or "not delivered yet",
        "the flusher goes on" if stats.flusher is not None else "they are sent when somebody flushes",
    )
