"""Draining from any process: ask the leader, whoever it is, and wait for its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lotus_durable.flusher.hung import hung_in_words, hung_leader
from lotus_durable.flusher.lock import nobody_leads
from lotus_durable.log import counted
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import STALE_AFTER, read_heartbeat
from lotus_durable.queue.protocol import EventQueue
from lotus_durable.queue.requests import answered, ask, withdraw

_LOOK_INTERVAL = 0.02  # seconds
_TAKEOVER_TIME = 1.0
"""Seconds in which another process would have taken over from a leader that died."""

_STEP_DOWN_TIME = 5.0
"""Seconds in which a leader whose API key is refused steps down for a process with another one."""

NO_KEY = "no API key is set in this process, and no other process uploads"


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What a drain achieved."""

    complete: bool
    """All that was pending when it began is settled, and each parked event had one more try."""
    delivered: int
    """Events delivered meanwhile, by whichever process led."""
    parked: int
    """Events that are parked now."""
    dead_lettered: int
    """Events that became dead letters meanwhile."""
    remaining: int
    """Events that are pending now."""
    elapsed: float
    """Seconds."""
    reason: str | None
    """Why it is not complete, in one sentence."""


def nothing_drained(reason: str | None = None) -> DrainReport:
    """Return the report of a drain that did not look at the queue: there is none, or (``reason``) it could not."""
    return DrainReport(
        complete=reason is None, delivered=0, parked=0, dead_lettered=0, remaining=0, elapsed=0.0, reason=reason
    )


def drain(
    queue: EventQueue,
    *,
    timeout: float | None,
    why_not: Callable[[], str | None] = lambda: None,
    has_better_key: Callable[[], bool] = lambda: False,
    begin: Callable[[], None] = lambda: None,
    watch: Callable[[], None] = lambda: None,
) -> DrainReport:
    """Have everything that is in the queue now tried; return when that is done, blocked, or out of time.

    A candidate must be running then, in this process or another, or there will be no leader to do it.

    Args:
        queue: the queue.
        timeout: seconds, None for as long as it takes.
        why_not: tells why this process's own candidate cannot become the leader, if so.
        has_better_key: whether the server may take this process's API key where it refuses the leader's.
        begin: starts or wakes the candidate of this process.
        watch: called now and then, to show progress.

    Raises:
        OSError: the queue directory cannot be used.
        QueueDamaged: the committed state cannot be read.
    """
    started = time.monotonic()
    buffered = queue.write_back()
    queue.prepare()
    before = queue.census()
    request = ask(queue.directory)
    try:
        begin()
        reason = _answer(queue.directory, request, started, timeout, why_not=why_not, watch=watch)
        if reason and has_better_key() and _leader_makes_way(has_better_key, started, timeout):
            withdraw(queue.directory, request)
            request = ask(queue.directory)
            reason = _answer(queue.directory, request, started, timeout, why_not=why_not, watch=watch)
    finally:
        withdraw(queue.directory, request)
    after = queue.census()
    if buffered and not reason:
        reason = f"the disk takes no writes: {counted(buffered, 'event')} in this process's memory"
    return DrainReport(
        complete=not reason,
        delivered=after.delivered - before.delivered,
        parked=after.parked,
        dead_lettered=after.dead_lettered - before.dead_lettered,
        remaining=after.pending + buffered,
        elapsed=time.monotonic() - started,
        reason=reason or None,
    )


def _answer(
    directory: QueueDirectory,
    request: str,
    started: float,
    timeout: float | None,
    *,
    why_not: Callable[[], str | None],
    watch: Callable[[], None],
) -> str:
    """Wait for the leader's answer: empty, or why not everything was tried."""
    led_at = started
    while (answer := answered(directory, request)) is None:
        now = time.monotonic()
        why = why_not()
        if why is None or _somebody_leads(directory):
            led_at = now
        elif now - led_at > _TAKEOVER_TIME:
            return why
        if timeout is not None and now - started >= timeout:
            return _out_of_time(directory, timeout)
        watch()
        time.sleep(_LOOK_INTERVAL)
    return answer


def _leader_makes_way(has_better_key: Callable[[], bool], started: float, timeout: float | None) -> bool:
    """Wait, not long, for a leader whose API key is refused to step down; this process's candidate asks it to."""
    gives_up_at = time.monotonic() + _STEP_DOWN_TIME
    if timeout is not None:
        gives_up_at = min(gives_up_at, started + timeout)
    while has_better_key():
        if time.monotonic() >= gives_up_at:
            return False
        time.sleep(_LOOK_INTERVAL)
    return True


def _somebody_leads(directory: QueueDirectory) -> bool:
    is_free = nobody_leads(directory)
    if is_free is not None:
        return not is_free
    heartbeat = read_heartbeat(directory)
    return heartbeat is not None and heartbeat.age() < STALE_AFTER


def _out_of_time(directory: QueueDirectory, timeout: float) -> str:
    hung, heartbeat = hung_leader(directory), read_heartbeat(directory)
    cause = ""
    if hung is not None:
        cause = f"; {hung_in_words(hung)}"
    elif heartbeat is not None and heartbeat.reason:
        cause = f"; {heartbeat.reason}"
    return f"not done within {max(0.0, timeout):.3g} seconds{cause}"
