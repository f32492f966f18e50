"""Draining from any process: ask the flusher and wait for its answer, or flush here if there is no flusher to ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError
from lotus_durable.log import counted, logger
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, read_beat
from lotus_durable.queue.identity import read_identity
from lotus_durable.queue.requests import ask, newest
from lotus_durable.values import NamedTuple

from . import locks
from .starting import Starting
from .stats import SILENT_AFTER

if TYPE_CHECKING:
    from lotus_durable.tracker import Tracker

_LOOK_INTERVAL = 0.01  # seconds
NO_KEY = "no API key is set in this process, and nobody flushes"


class DrainReport(NamedTuple):
    """What a drain achieved."""

    complete: bool
    """All that was pending when it began is settled, and each parked event had one more try."""
    delivered: int = 0
    """Events delivered meanwhile, by whichever process flushed."""
    handed_over: int = 0
    """Events that a broker confirmed meanwhile, where ``relay_url`` is set: they are safe there."""
    parked: int = 0
    """Events that are parked now."""
    dead_lettered: int = 0
    """Events that became dead letters meanwhile."""
    remaining: int = 0
    """Events that are pending now."""
    elapsed: float = 0.0
    """Seconds."""
    reason: str | None = None
    """Why it is not complete, in one sentence."""


def drain(
    tracker: Tracker,
    *,
    timeout: float | None,
    watch: Callable[[], None] = lambda: None,
    through: bool = False,
) -> DrainReport:
    """Have everything that is in the queue now tried; return when that is done or cannot be, or after the timeout.

    Args:
        tracker: of this process; it looks, and starts a flusher where there is none.
        timeout: seconds, None for as long as it takes.
        watch: called now and then, to show progress.
        through: wait for the relay, too, where there is one.

    Raises:
        OSError: the queue directory cannot be used.
        QueueDamaged: the queue cannot be read.
    """
    started = monotonic()
    ends_at = float("inf") if timeout is None else started + timeout
    directory, config = tracker.directory, tracker.config
    directory.prepare()
    read_identity(directory)  # of a later version, or unreadable: no flusher would come, however long it is waited for
    before = count(directory)
    number = _asked(directory)

    def give_up() -> str | None:
        watch()
        return _why_out_of_time(directory, timeout or 0.0) if monotonic() >= ends_at else None

    tracker.look.drains = True
    try:
        reason = _answer(tracker, number, give_up)
        if not reason and through and config.relay_url is not None:
            reason = _through_relay(config.relay_url, ends_at, watch)
        tracker.look_now()  # what happened meanwhile is told: a program that only drains has no event to do it
    finally:
        tracker.look.drains = False
    in_memory = tracker.in_memory()
    if in_memory and not reason:
        reason = f"the disk takes no writes: {counted(in_memory, 'event')} in this process's memory"
    after = count(directory)
    return DrainReport(
        complete=not reason,
        # Less than nothing where books were lost meanwhile, or dead letters put back.
        delivered=max(0, after.delivered - before.delivered),
        handed_over=max(0, after.handed_over - before.handed_over),
        parked=after.parked,
        dead_lettered=max(0, after.dead_lettered - before.dead_lettered),
        remaining=after.pending + in_memory,
        elapsed=monotonic() - started,
        reason=reason or None,
    )


def _answer(tracker: Tracker, number: int | None, give_up: Callable[[], str | None]) -> str:
    """Wait for the answer to request ``number``: empty, or why not everything was tried."""
    directory, look = tracker.directory, tracker.look
    next_look = float("-inf")
    is_blind = read_beat(directory) is None and look.somebody_flushes() is True
    while True:
        beat = read_beat(directory)
        if number is not None and beat is not None and _is_forgotten(directory, number, beat, is_blind=is_blind):
            number, is_blind = _asked(directory), False
            beat = read_beat(directory)  # the request's number is of the file of now, and so must be what it is held to
        if (answer := _answered(directory, number, beat)) is not None:
            return answer
        if (why := give_up()) is not None:
            return why
        if monotonic() >= next_look:
            next_look = monotonic() + tracker.config.constants.trusted_look / 2
            tracker.look_now()
            if look.somebody_flushes() is False and not look.is_on_its_way():
                reason = _without_flusher(tracker, number, give_up)
                if reason is not None:
                    return reason
        time.sleep(_LOOK_INTERVAL)


def _without_flusher(tracker: Tracker, number: int | None, give_up: Callable[[], str | None]) -> str | None:
    """Flush here where none will be started; return the answer, None where one is waited for."""
    if not tracker.config.can_send():
        return NO_KEY
    notes = Starting(tracker.directory).read()
    is_started = tracker.look.why_none_is_started() is None
    if is_started and notes.failures and notes.has_flushed:
        return notes.failure()  # what ends them in the middle would end this process
    if is_started and not notes.failures:
        return None
    return _flushed_here(tracker.config, number, give_up)


def _through_relay(url: str, ends_at: float, watch: Callable[[], None]) -> str:
    """Wait until a relay has delivered what is in the broker's queue: empty, or why it has not."""
    try:
        from lotus_durable.relay.address import address_of
        from lotus_durable.relay.publisher import wait_through

        return wait_through(address_of(url), ends_at, watch)
    except ConfigurationError as error:
        return str(error)


def _flushed_here(config: Config, number: int | None, give_up: Callable[[], str | None]) -> str | None:
    """Flush in this process; return the answer, None where another one was faster to take the lock."""
    try:
        from .destination import AsConfigured
        from .life import Flusher  # with requests, filelock and SQLite: only where there is no other way
    except ImportError as error:
        return f"no flusher can be started, and this process cannot flush: {error}"

    logger.debug("flushing in this process")
    given_up: str | None = None

    def ending() -> str | None:
        nonlocal given_up
        control = flusher.control
        if control is not None and number is not None and control.is_answered(number):
            return "it was asked for no more"
        # Kept as it was first: the last beat of this flusher no longer says what the trouble was.
        given_up = given_up or give_up()
        return given_up

    own = config._replace(exit_timeout=0.0)
    flusher = Flusher(lambda: own, kind="caller", ending=ending, destination=AsConfigured())
    if not flusher.lock.acquire():
        return flusher.lock.refusal
    try:
        flusher.run(lambda control: number is None or control.is_answered(number))
    except ImportError as error:
        return f"no flusher can be started, and this process cannot flush: {error}"
    answer = _answered(flusher.directory, number, read_beat(flusher.directory))
    return given_up if answer is None else answer


def _asked(directory: QueueDirectory) -> int | None:
    """Ask, and return the number of the request; None where the disk does not take it."""
    try:
        return ask(directory, "drain")
    except OSError:
        return None


def _is_forgotten(directory: QueueDirectory, number: int, beat: Beat, *, is_blind: bool) -> bool:
    """Whether the file with a request is another one by now: nobody may have heard it, and its number says nothing.

    Or it may be (``is_blind``): a flusher without a heartbeat may have answered such a number before.
    """
    return is_blind or newest(directory) < max(number, beat.asked)


def _answered(directory: QueueDirectory, number: int | None, beat: Beat | None) -> str | None:
    """Return the answer to a request by the last beat, empty if it was carried out; None where there is none yet.

    Where nobody could be asked, all is done when nothing is pending.
    """
    if number is not None:
        return (beat.answer or "") if beat is not None and beat.asked >= number else None
    if not count(directory).pending:
        return ""
    return beat.reason if beat is not None and beat.state == "blocked" else None


def _why_out_of_time(directory: QueueDirectory, timeout: float) -> str:
    beat, notes = read_beat(directory), Starting(directory).read()
    cause = f"; {beat.reason}" if beat is not None and beat.reason and not beat.is_over() else ""
    cause = f"; {notes.failure()}" if notes.failures else cause
    if beat is not None and not beat.is_over() and beat.age() > SILENT_AFTER and locks.is_held(directory.flusher_lock):
        cause = f"; process {beat.pid} on {beat.hostname} flushes, and shows no sign of life: it is stopped or stuck"
    return f"not done within {max(0.0, timeout):.3g} seconds{cause}"
