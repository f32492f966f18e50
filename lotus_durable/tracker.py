"""What tracks in a process: pairs of encoder and appender, the memory buffer, and the looks.

There is no thread, no lock and no late import. An event is checked, packed and appended (:mod:`lotus_durable.tracks`).
Then, if the last look is older than half a second, the process looks whether somebody flushes. The order matters: see
:mod:`lotus_durable.flusher.look`.

A *pair* is an encoder and an appender. Each call takes a pair out of a list and puts it back. So each of several
threads, and a signal handler in the middle of a call, has a pair of its own.

Everything here belongs to one process. A forked child drops what it inherited before it uses any of it: in a fork hook,
or, if the fork ran none, when it finds the mark of :mod:`lotus_durable.fork` at 0.

It is one file, because each event goes through all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lotus_durable import fork
from lotus_durable.clock import quickest
from lotus_durable.config import Config, default_queue_dir, this_application
from lotus_durable.disk import is_folder, is_of_the_disk, is_there
from lotus_durable.errors import ConfigurationError, DiskRefused, LotusError, QueueDirectoryError, QueueFull
from lotus_durable.event.encoder import EventEncoder, longest_event_name
from lotus_durable.flusher.look import Look
from lotus_durable.log import counted, logger
from lotus_durable.queue.appender import Appender, Mark
from lotus_durable.queue.directory import QueueDirectory, raise_if_misconfigured, reason
from lotus_durable.queue.heartbeat import read_beat, read_progress
from lotus_durable.queue.identity import ensure_identity, fingerprint, split_keys
from lotus_durable.queue.limit import QueueLimit
from lotus_durable.queue.memory import CAPACITY, WRITTEN_BACK_PER_APPEND, write_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any

    from lotus_durable.flusher.reporting import Report
else:
    from _collections import deque  # collections itself imports more

_mark = fork.mark
_WARNING_INTERVAL = 60.0  # seconds


class Pair:
    """What one call needs."""

    __slots__ = ("appender", "encode")

    def __init__(self, encoder: EventEncoder, appender: Appender) -> None:
        self.appender: Appender = appender
        self.encode: Callable[[object, object, object, object, object], tuple[str, bytes]] = encoder.encode


class Tracker:
    """Tracks for one client in one process, and anew in each forked child.

    Args:
        config: options.
        report: told of errors, with the events they are about.

    Attributes:
        config: the options of the clients that share it.
        directory: of the queue.
        look: this process's looks.
        pairs: those that no call uses now.
        waiting: the records in memory that the disk has not taken.
        now: the clock.
        make_encoder: makes one that does with what it refuses what ``on_invalid`` says.
        looked_at: when the last look was, and ``look_at``, when the next one is due.
    """

    def __init__(self, config: Config, report: Report) -> None:
        self.config = config
        self._report = report
        self.directory: QueueDirectory = QueueDirectory(config.queue_dir)
        self.look: Look = Look(self.directory, config, lambda error, events: self._report(error, events))  # noqa: PLW0108  # it changes
        self.now: Callable[[], float] = quickest()
        self._trusted_look = config.constants.trusted_look
        self._has_worked = False
        self._has_said_whose = False
        self._way = _kind_of_appender(config.backend)
        self.make_encoder: Callable[[], EventEncoder] = _encoders(config, self._tell_refused)
        self._begin()
        fork.register(self)
        if config.send and config.queue_dir not in _named:
            _named.add(config.queue_dir)
            logger.info("events are kept in %s", config.queue_dir)

    def _begin(self) -> None:
        self._process = fork.this_process()
        self.pairs: deque[Pair] = deque()  # a list of one gives its memory back with each pop, and asks for it anew
        self._all_pairs: list[Pair] = []
        self.waiting: deque[bytes] = deque()
        # In a child anew: its parent may have taken much at a time, being alone; the children are many.
        self._limit = QueueLimit(self.directory, self.config.max_queue_bytes)
        self.look_at: float = float("-inf")
        self.looked_at: float = float("-inf")
        self._next_warning = float("-inf")
        self._is_noted = False
        self._next_refused_warning = float("-inf")
        self._sealed: dict[str, int] = {}

    def check(
        self, customer_id: object, event_name: object, properties: object, time_created: object, idempotency_id: object
    ) -> tuple[str, bytes]:
        """Check one event and return its idempotency id and its record; nothing is written.

        Raises:
            InvalidEvent: an argument is refused.
        """
        encoder = EventEncoder(self.config.max_event_bytes, longest_event_name(self.config.api_version))
        return encoder.encode(customer_id, event_name, properties, time_created, idempotency_id)

    def check_key(self) -> None:
        """Refuse a key that is known to be another organisation's.

        Raises:
            ConfigurationError: it is.
        """
        beat = read_beat(self.directory)
        is_foreign = beat is not None and fingerprint(self.config.api_key) in split_keys(beat.foreign_keys)
        if is_foreign:
            raise ConfigurationError(
                f"the API key belongs to another organisation than the events in {self.directory.root}: give each "
                "application a queue directory of its own"
            )

    def look_after_event(self, now: float) -> None:
        """Look because an event has come after the last look ran out."""
        self._has_worked = True
        self.look_now(now)

    def look_now(self, now: float | None = None) -> None:
        """Look whether somebody flushes; at an event, when a client is made, at the end, and by who waits."""
        if not _mark[0]:
            fork.begin_process()
        if now is None:
            now = self.now()
        self.looked_at, self.look_at = now, now + self._trusted_look
        for other in tuple(_open):
            if other._all_pairs:
                other._write_back()
            else:
                other.close()  # again: something waits there since before a setting was changed
        # After an event that is mostly none: the segment was checked for it, or just before.
        stale = [pair for pair in self.pairs.copy() if not pair.appender.is_trusted(now)]
        if stale and (self.waiting or is_there(self.directory.root)):  # else removed, and nothing is made there again
            for pair in stale:
                self._check(pair)
        if self._is_noted and not self.waiting:
            self._is_noted = False
            self.look.note_in_memory(0)
        self.look.look()

    def in_memory(self) -> int:
        """Return how many accepted events wait in this process's memory because the disk takes none."""
        return sum(len(other.waiting) for other in {self, *_open} if other.directory.root == self.directory.root)

    def written(self) -> dict[str, int]:
        """Return what this process has written and may not be settled: segments' names and their ends."""
        if not _mark[0]:
            fork.begin_process()
        found = self._sealed.copy()
        for pair in tuple(self._all_pairs):
            found.update(pair.appender.written())
        return found

    def is_settled(self, written: Mapping[str, int]) -> bool:
        """Whether everything up to these ends of these segments is settled, as far as the heartbeat says."""
        cursor = read_progress(self.directory).cursor
        return all(
            cursor[name][0] >= end if name in cursor else not self.directory.has(name) for name, end in written.items()
        )

    def reports_to(self, report: Report) -> None:
        """Have errors told to another client: the last one that was made is the one in use."""
        self._report = report

    def close(self) -> None:
        """Write what waits in memory, and let go of the segments.

        What the disk does not take stays in memory: it is written when some client of this process looks.
        """
        if not _mark[0]:
            fork.begin_process()
        # A directory that is gone was removed with all that was in it: a test's, say. It is not made again for an end.
        is_gone = not is_folder(self.directory.root)
        if not is_gone:
            self._write_back()
        while self.pairs:
            try:
                pair = self.pairs.pop()
            except IndexError:
                break
            if is_gone:
                pair.appender.abandon()
            else:
                pair.appender.close()
            self._all_pairs.remove(pair)
        if not self._all_pairs and not self.waiting:
            _open.discard(self)

    def end(self) -> None:
        """Do so at the end of the process: what can be written nowhere is lost, and that is said."""
        self.close()
        lost = len(self.waiting)
        self.waiting.clear()
        if lost:
            error = DiskRefused(
                f"{counted(lost, 'accepted event')} lost: the disk takes no writes, and this process ends"
            )
            logger.error("%s", error)
            self._report(error, [])

    def abandon(self) -> None:
        """Drop, in a forked child, what is the parent's."""
        if self._process != fork.this_process():
            for pair in self._all_pairs:
                pair.appender.abandon()
            _open.discard(self)
            self._begin()

    # Pairs

    def _taken_pair(self) -> Pair:
        try:
            return self.pairs.pop()
        except IndexError:
            return self.new_pair()

    def new_pair(self) -> Pair:
        """Open another pair; its file is made by its first append."""
        pair = Pair(self.make_encoder(), self._make_appender())
        _open.add(self)
        self._all_pairs.append(pair)
        return pair

    def _tell_refused(self, refused: LotusError, events: Sequence[dict[str, Any]]) -> None:
        now = self.now()
        if now >= self._next_refused_warning:
            self._next_refused_warning = now + _WARNING_INTERVAL
            logger.warning("an event is refused, and track_event goes on (on_invalid): %s", refused)
        self._report(refused, events)

    def _make_appender(self) -> Appender:
        return self._way(
            self.directory,
            self._limit,
            key=fingerprint(self.config.api_key),
            identify=self._identify,
            power=self.config.durability == "power",
            report=self._report_damage,
            sealed=self._sealed,
            segment_bytes=self.config.constants.segment_bytes,
        )

    def _report_damage(self, error: LotusError) -> None:
        logger.error("%s", error)
        self._report(error, [])

    def _identify(self) -> None:
        application = this_application()
        identity = ensure_identity(self.directory, application)
        is_anothers = identity.application not in ("", application)
        if is_anothers and not self._has_said_whose and self.config.queue_dir == default_queue_dir():
            self._has_said_whose = True
            logger.warning(
                "%s is the default queue directory, and another application of this user made it (%s; this one is %s): "
                "give each a queue_dir of its own",
                self.directory.root,
                identity.application,
                application,
            )

    def _check(self, pair: Pair) -> None:
        """Notice what happened to a segment behind this process's back; an idle one has no event to do it."""
        try:
            self.pairs.remove(pair)
        except ValueError:
            return  # in use: its append looks
        try:
            pair.appender.check()
        except (OSError, LotusError) as error:
            _raise_a_handlers(error)
            logger.debug("cannot check a segment: %s", error)
        finally:
            self.pairs.append(pair)

    def sync(self, record: bytes, mark: Mark, *, was_accepted: bool = False) -> None:
        """Return when an event survives a power cut; where its segment cannot be synced it is written anew, once."""
        try:
            Appender.sync(mark)
        except OSError as error:
            _raise_a_handlers(error)
            pair = self._taken_pair()
            try:
                pair.appender.append_again(record, self.now(), mark)
            except (OSError, QueueDirectoryError) as refusal:
                if was_accepted:
                    self.waiting.append(record)
                else:
                    self.keep(record, refusal)
            finally:
                self.pairs.append(pair)

    # The memory buffer

    def append(self, pair: Pair, record: bytes, now: float) -> Mark | None:
        """Append a record; where others wait, write back some of them first, and it only when nothing older is left."""
        if not self.waiting:
            return pair.appender.append(record, now)
        self._write_back_by(pair, WRITTEN_BACK_PER_APPEND)
        if not self.waiting:
            return pair.appender.append(record, now)
        self._keep_in_memory(record)
        return None

    def keep(self, record: bytes, error: Exception) -> None:
        """Keep a record in memory that the disk refuses, and say why, once a minute.

        Raises:
            QueueFull: the buffer is full; it was not accepted.
            QueueDirectoryError: the directory has never worked for this process: a mistake in the configuration.
        """
        _raise_a_handlers(error)
        if not self._has_worked:
            raise_if_misconfigured(self.directory.root, error)
        self._keep_in_memory(record)
        now = self.now()
        if now < self._next_warning:
            return
        self._next_warning = now + _WARNING_INTERVAL
        refusal = DiskRefused(
            f"{self.directory.root} takes no writes ({reason(error)}); "
            f"in memory, and lost if this process ends: {counted(self.in_memory(), 'accepted event')}"
        )
        logger.warning("%s", refusal)
        self._report(refusal, [])
        self._is_noted = True
        self.look.note_in_memory(self.in_memory())

    def _keep_in_memory(self, record: bytes) -> None:
        if sum(len(other.waiting) for other in {self, *_open}) >= CAPACITY:
            raise QueueFull(
                f"event not accepted: the disk takes no writes and the memory buffer is full ({CAPACITY} events)"
            )
        self.waiting.append(record)

    def _write_back(self) -> None:
        """Write what waits in memory for as long as the disk takes it."""
        if not self.waiting:
            return
        pair = self._taken_pair()
        try:
            self._write_back_by(pair, len(self.waiting))
        except (OSError, QueueDirectoryError) as error:
            _raise_a_handlers(error)
            logger.debug("the disk takes no writes yet: %s", error)
        finally:
            self.pairs.append(pair)

    def _write_back_by(self, pair: Pair, limit: int) -> None:
        """Write so many at the most; they survive a power cut, where events are to, as any that is accepted does."""
        written: list[tuple[bytes, Mark]] = []

        def write(record: bytes) -> None:
            mark = pair.appender.append(record, self.now(), was_accepted=True)
            if mark is not None:
                written.append((record, mark))

        try:
            write_back(self.waiting, write, limit)
        finally:
            for record, mark in reversed(written):  # the sync of the last one is that of the others
                self.sync(record, mark, was_accepted=True)


def _raise_a_handlers(error: Exception) -> None:
    """Let out what a signal handler of the application has raised in the middle of our call."""
    if isinstance(error, OSError) and not is_of_the_disk(error):
        raise error


def _encoders(config: Config, report: Report) -> Callable[[], EventEncoder]:
    """Return what makes an encoder; the one that reports is imported when a client is made, for those who chose it."""
    limits = config.max_event_bytes, longest_event_name(config.api_version)
    if config.on_invalid == "raise":
        return partial(EventEncoder, *limits)
    from lotus_durable.event.refused import ReportingEncoder

    return partial(ReportingEncoder, *limits, report)


def _kind_of_appender(backend: str) -> type[Appender]:
    """Return what appends; SQLite is imported when a client is made, for those who chose it."""
    if backend == "journal":
        return Appender
    from lotus_durable.queue.sqlite import SqliteAppender

    return SqliteAppender


_trackers: dict[Config, Tracker] = {}
_open: set[Tracker] = set()
_named: set[str] = set()


def open_trackers() -> list[Tracker]:
    """Return those that have tracked in this process and were not closed since."""
    return list(_open)


def tracker_for(config: Config, report: Report) -> Tracker:
    """Return this process's tracker for these options: clients with the same ones share it, however many are made."""
    key = config._replace(on_error=None, debug=False)
    tracker = _trackers.get(key)
    if tracker is None:
        for other in list(_trackers):
            if not is_folder(other.queue_dir):
                gone = _trackers.pop(other, None)  # a test's directory, say
                if gone is not None:
                    gone.close()
        tracker = _trackers.setdefault(key, Tracker(config, report))
    tracker.reports_to(report)
    return tracker
