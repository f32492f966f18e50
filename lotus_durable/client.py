"""The client: its options, its methods, and what happens at exit.

:mod:`.tracker` does the tracking, :mod:`.flusher` the sending. It is one file, because a third of its lines are the
docstrings of its methods.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from _weakref import ref  # weakref itself imports more
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from math import isnan

from lotus_durable import fork
from lotus_durable.calls.lazy import bind_calls
from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.disk import DiskErrorsSuppressed, is_there
from lotus_durable.errors import ConfigurationError, DiskRefused, EventRefused, QueueDirectoryError
from lotus_durable.event.encoder import ARGUMENTS, PACKS_SLOWLY
from lotus_durable.event.record import decode_record, event_as_json_object
from lotus_durable.log import Reporter, log_steps, logger, warn_if_unencrypted
from lotus_durable.queue.directory import raise_if_misconfigured
from lotus_durable.queue.heartbeat import read_progress
from lotus_durable.tracker import open_trackers, tracker_for
from lotus_durable.tracks import Tracks
from lotus_durable.waiting import wait_until_settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Self, Unpack

    from lotus_durable.calls.caller import Caller
    from lotus_durable.calls.methods import Calls
    from lotus_durable.flusher.drain import DrainReport
    from lotus_durable.operate import Given
    from lotus_durable.operate.refused import RefusedEvents
    from lotus_durable.option_types import OnError, Options
    from lotus_durable.queue.stats import QueueStats
else:
    Calls = object  # their modules are imported by the first of them: a process that only tracks needs none

_calling: list[ref[Client]] = []
"""Clients with connections of their own to the server, to be closed at exit."""
_reporters: list[ref[Reporter]] = []


class Client(Tracks, Calls):
    """Accepts usage events and keeps them on disk; one flusher process delivers them, for all processes.

    Any number of clients, threads and processes may share a queue directory. Nothing needs to be called around a
    fork. All options are keyword arguments, see :class:`~lotus_durable.config.Config`.

    Raises:
        ConfigurationError: an option is wrong; or the server has said that the API key and the events in the queue
            directory belong to different organisations.
        QueueDirectoryError: the queue directory is unsafe (others can write to it, or it belongs to somebody else), or
            it cannot be made.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        self.adopt(Config.resolve(options))

    @classmethod
    def from_config(cls, config: Config) -> Client:
        """Return a client for a configuration that is resolved already."""
        client = cls.__new__(cls)
        client.adopt(config)
        return client

    def adopt(self, config: Config) -> None:
        """Use these options from now on. A client that had others before is released first (:meth:`release`)."""
        self.config = config
        self.report: Reporter = reporter_for(config.on_error)
        log_steps(self, debug=config.debug)
        warn_if_unencrypted(config.host)
        if PACKS_SLOWLY:
            logger.warning(
                "msgpack runs without its compiled part here, as in every sub-interpreter: events cost more CPU"
            )
        self._tracker = tracker_for(config, self.report)
        self._tracks_with = self._tracker if config.send and not config.sync_mode else None
        self._callers: list[Caller] = []
        if config.send:
            self._tracker.check_key()
        if config.send and os.geteuid() != 0:
            # Root may be a server's master whose workers run as another user, who could not use what root makes.
            self._prepare_directory()

    def __repr__(self) -> str:
        return f"<Client host={self.config.host} queue_dir={self.config.queue_dir}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would carry the API key. Make a client in each process, or use it across a fork."""
        raise TypeError("a Client cannot be pickled: it holds the API key; make one in each process")

    def check_event(
        self,
        *,
        customer_id: str,
        event_name: str,
        properties: Mapping[str, object] | None = None,
        time_created: datetime | str | None = None,
        idempotency_id: str | None = None,
    ) -> dict[str, Any]:
        """Check one event, to track it later: nothing is written.

        For an event that must wait for a transaction: keep what is returned in a table of your own (an outbox), and
        call ``track_event(**event)`` for each row later. An event that is tracked twice counts once.

        Args:
            customer_id: as for ``track_event``.
            event_name: as for ``track_event``.
            properties: as for ``track_event``.
            time_created: as for ``track_event``.
            idempotency_id: as for ``track_event``.

        Returns:
            The arguments of ``track_event``, in types that JSON has, with the id and the time fixed.

        Raises:
            InvalidEvent: an argument is refused.
        """
        _, record = self._tracker.check(customer_id, event_name, properties, time_created, idempotency_id)
        return event_as_json_object(decode_record(record))

    def drain(self, timeout: float | None = None, *, through: bool = False) -> DrainReport:
        """Have everything that is pending now delivered, and wait for it. For deploy hooks and tests; in any process.

        This asks the flusher, and starts one if there is none. With ``flusher="external"`` and no flusher, or where
        none can be started, this process flushes itself; that imports requests, filelock and SQLite into it.

        Args:
            timeout: seconds; None or infinity for as long as it takes, less than 0 counts as 0.
            through: with ``relay_url``: wait until a relay has delivered it, too, not only until the broker has it.
                That imports the library amqp into this process.

        Returns:
            What was done. If only a person can mend what is wrong, it returns at once, with the reason.

        Raises:
            ConfigurationError: the timeout is not a number.
            DiskRefused: the queue directory cannot be used.
            QueueDamaged: the queue cannot be read.
        """
        return self.watched_drain(timeout, lambda: None, through=through)

    def watched_drain(self, timeout: float | None, watch: Callable[[], None], *, through: bool = False) -> DrainReport:
        """Do what :meth:`drain` does, and call ``watch`` now and then, to show progress."""
        from lotus_durable.flusher.drain import DrainReport, drain

        timeout = None if timeout is None else _seconds(timeout)
        if not self.config.send:
            return DrainReport(complete=True)
        if self.report.is_running():
            reason = "a drain cannot be waited for in on_error: what calls that may be what drains"
            return DrainReport(complete=False, reason=reason)
        with _our_errors():
            return drain(self._tracker, timeout=timeout, watch=watch, through=through)

    def flush(self, timeout: float | None = None) -> bool:
        """Do what :meth:`drain` does, and return whether it was complete. The name is lotus-python's.

        Args:
            timeout: seconds; None or infinity for as long as it takes, less than 0 counts as 0.

        Raises:
            LotusError: as :meth:`drain`.
        """
        return self.drain(timeout).complete

    def stats(self) -> QueueStats:
        """Count what is in the queue, for all processes that share it. Ages are seconds, sizes bytes.

        Raises:
            DiskRefused: the queue directory cannot be read.
            QueueDamaged: the queue cannot be read.
        """
        from lotus_durable.flusher.stats import collect

        with _our_errors():
            return collect(self._tracker.directory, self._tracker.in_memory())

    def dead_letters(self, **where: Unpack[Given]) -> RefusedEvents:
        """Return the dead letters that match a filter, to count, list, put back or purge them on an operator's page.

        Nothing is read until you ask the result for it. Putting back and purging import requests, filelock and SQLite
        into this process, and have the flusher pause for a moment. So in a web worker, run the command
        ``lotus-durable dead-letters`` instead.

        Args:
            where: ``reason`` (a part of it), ``customer_id``, ``event_name``, ``older_than`` and ``newer_than``
                (seconds since the event was accepted) and ``ids``. An event matches if all that are given apply.
        """
        from lotus_durable.operate import Where
        from lotus_durable.operate.refused import RefusedEvents

        return RefusedEvents(self.config, "dead_letter", Where(**where))

    def parked_events(self, **where: Unpack[Given]) -> RefusedEvents:
        """Return the parked events that match a filter; see :meth:`dead_letters`."""
        from lotus_durable.operate import Where
        from lotus_durable.operate.refused import RefusedEvents

        return RefusedEvents(self.config, "parked", Where(**where))

    def join(self, timeout: float | None = None) -> None:
        """Wait until what this process tracked is delivered, at most ``timeout`` seconds. The name is lotus-python's.

        While the server takes no events this does not wait: they are on disk, and are delivered when it does.

        Args:
            timeout: seconds; ``exit_timeout`` if not given, infinity for as long as it takes.

        Raises:
            ConfigurationError: the timeout is no number.
        """
        wait_until_settled(
            self._tracker, monotonic() + (self.config.exit_timeout if timeout is None else _seconds(timeout))
        )

    def shutdown(self, timeout: float | None = None) -> None:
        """Do what :meth:`join` does, and close the files of the queue.

        It is called at exit, with ``exit_timeout``, and no event depends on it: what is left stays on disk, for the
        flusher. The client can be used again, and then opens files anew.

        Args:
            timeout: seconds; ``exit_timeout`` if not given, infinity for as long as it takes.

        Raises:
            ConfigurationError: the timeout is not a number; the files are closed all the same.
        """
        try:
            self.join(timeout)
        finally:
            self.release()

    def release(self) -> None:
        """Close the files of the queue without waiting."""
        self._tracker.close()
        while self._callers:
            self._callers.pop().close()

    # The calls that answer

    def caller(self) -> Caller:
        """Return what makes the calls above in this process; without an API key it can only check them."""
        from lotus_durable.calls.caller import Caller

        if not self._callers:
            self._callers.append(Caller(self.config))
            fork.register(self._callers[-1])
            _calling.append(ref(self, _calling.remove))
        return self._callers[0]  # of two threads that come here at once, both get the same one

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()

    # Tracking

    def _track_otherwise(self, *event: Any) -> str:  # noqa: ANN401  # see Tracks
        """Only check an event (``send`` is false), or wait for its verdict, too (``sync_mode``)."""
        if not self.config.send:
            return self._tracker.make_encoder().encode(*event)[0]
        event_id = Tracks(self._tracker).track_event(**dict(zip(ARGUMENTS, event, strict=True)))
        self._wait_for_verdict(event_id)
        return event_id

    def _wait_for_verdict(self, event_id: str) -> None:
        """Wait for the verdict of an event that was just appended.

        Raises:
            EventRefused: the server refused it for good.
        """
        longest = sum(self.config.timeout)
        look = self._tracker.look
        reason = None
        if look.why_none_is_started() is None or look.somebody_flushes():
            wait_until_settled(self._tracker, monotonic() + longest)
        else:
            reason = self.drain(longest).reason  # it is this process that flushes
        for refusal in read_progress(self._tracker.directory).refusals:
            if refusal.idempotency_id == event_id:
                if refusal.is_final:
                    raise EventRefused(refusal.reason)
                logger.warning("the event is parked and tried again: %s", refusal.reason)
        if reason is not None:
            logger.warning("the event is kept and has no verdict yet: %s", reason)

    def _prepare_directory(self) -> None:
        directory = self._tracker.directory
        try:
            directory.prepare()
        except (OSError, QueueDirectoryError) as error:
            raise_if_misconfigured(directory.root, error)
            # The disk may come back; until then events wait in memory, and that is reported when it happens.
            logger.warning("queue_dir %s cannot be used now: %s", directory.root, error)
            return
        with DiskErrorsSuppressed():
            if directory.segments() or is_there(directory.queue_db):
                self._tracker.look_now()  # what was left by processes before this one


def _seconds(timeout: object) -> float:
    """Return a timeout as seconds: infinity is allowed, less than 0 counts as 0.

    Raises:
        ConfigurationError: it is not a number.
    """
    try:
        seconds = float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = float("nan")
    if isnan(seconds):
        raise ConfigurationError("timeout: a number of seconds is needed")
    return max(0.0, seconds)


def reporter_for(on_error: OnError | None) -> Reporter:
    """Return what calls this function: one for all clients that have it."""
    for reference in tuple(_reporters):
        known = reference()
        if known is not None and known.on_error == on_error:
            return known
    made = Reporter(on_error)
    _reporters.append(ref(made, _reporters.remove))
    fork.register(made)
    return made


@contextlib.contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskRefused(f"the queue directory cannot be used: {error}") from error


def _at_exit() -> None:
    """Wait for what each tracker of this process tracked; all together no longer than the longest ``exit_timeout``."""
    trackers = open_trackers()
    ends_at = monotonic() + max((tracker.config.exit_timeout for tracker in trackers), default=0.0)
    for tracker in trackers:
        wait_until_settled(tracker, min(monotonic() + tracker.config.exit_timeout, ends_at))
        tracker.close()
    # Only now, when all have closed their segments: where too many files were open, what waits can be written now.
    for tracker in trackers:
        tracker.end()
    for reference in tuple(_calling):
        client = reference()
        if client is not None:
            client.release()


bind_calls(Client)
atexit.register(_at_exit)
