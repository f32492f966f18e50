"""Between any two steps of the flusher: it beats, waits, hears what others ask, and learns that it must stop.

It is one file, because all of it changes one beat, behind one lock.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from lotus_durable.clock import monotonic, since_boot
from lotus_durable.config import Config
from lotus_durable.errors import DeliveryResumed, LotusError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, HeartbeatFile, Program, Progress, Refusal, shortened
from lotus_durable.queue.identity import FINGERPRINT_SIZE, split_keys
from lotus_durable.queue.requests import Request, newest, since
from lotus_durable.queue.stats import FlusherState

from .notices import HeldNotices
from .rate import Rate
from .unsettled import UnsettledIds

logger: logging.Logger = logging.getLogger("lotus_durable")

_LOOK_INTERVAL = 0.1
"""Seconds between two looks for requests and for the word to stop, while waiting."""
_BEAT_INTERVAL = 0.5
_LOCAL_STEP = 60.0
"""Seconds that a step without a request can take: a disk may be slow, and a backlog large."""
_MOST_REFUSALS = 32
_MOST_FOREIGN_KEYS = 100


class Stopped(Exception):
    """The work ends here: the process stops, or flushes no more. What has no verdict yet stays in the queue."""


class Renewed(Stopped):
    """The work begins anew in this very flusher, with what was read again."""


class Control:
    """What the loop asks between its steps. One thread works with it; another may beat and watch.

    Whatever begins a step or waits raises Stopped when it is time to end.

    Args:
        directory: of the queue.
        first: the first beat, with all that does not change.
        config: options.
        ending: returns why it is time to end, if so: after what can be sent within ``exit_timeout``.
        read_to: the number of the last request before the lock was taken.
        is_alone: whether the lock is still where the path leads: asked before each request.
        new_key: called where the server refuses the API key; whether there is another one now.
        works: called when it has come so far that its start did not fail: it settled something, found nothing to do,
            or waits for the server.

    Attributes:
        is_paused: somebody wants the lock for a while, and it is to go on afterwards.
        before_request: called before each, and raises Stopped where none may be sent.
        meanwhile: called now and then while it waits; it may raise OSError, and is called again.
    """

    def __init__(
        self,
        directory: QueueDirectory,
        first: Beat,
        config: Config,
        *,
        ending: Callable[[], str | None],
        is_alone: Callable[[], bool],
        read_to: int,
        new_key: Callable[[], bool],
        works: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._file: HeartbeatFile = HeartbeatFile(directory)
        self._beat = first
        self._config = config
        self._ending = ending
        self._is_alone = is_alone
        self._new_key = new_key
        self._works = works
        self._ends_at: float | None = None
        self._lock = threading.RLock()
        self._progress: Progress | None = None
        self._refusals: list[Refusal] = []
        self._reported_trouble: float | None = None  # since when
        self._notices = HeldNotices(config.constants.report_interval)
        self._unsettled = UnsettledIds(first.unsettled)
        self._rate = Rate()
        self._beat_at = float("-inf")
        self._step_ends = float("inf")
        self._requests = 0  # in flight
        # What was asked of whoever flushed before is not for us, but for drains: they wait for whoever comes.
        self._read_to = read_to
        self._drain = self._read_to
        self._leave: str | None = None
        self.is_paused: bool = False
        self.before_request: Callable[[], None] = lambda: None
        self.meanwhile: Callable[[], None] = lambda: None
        self._renew: str | None = None
        self._stop_asked: str | None = None
        self.wake: threading.Event = threading.Event()

    def begin_anew(self, config: Config, program: Program) -> None:
        """Go on with other options, as who has just begun; what was heard and told stays heard and told."""
        self._config = config
        self.before_request = lambda: None
        changes = {"program": program, "since": since_boot(), "key_refused": False, "unreachable_since": None}
        self._note(state="starting", reason=None, **changes)

    @property
    def last_beat(self) -> Beat:
        """The beat that whoever comes next goes on from."""
        return self._beat

    # Steps

    def enter(self, state: FlusherState, reason: str | None = None) -> bool:
        """Tell what is going on now, and why; return whether that is news.

        Another try in the middle of trouble ("sending") is no news and does not end the trouble.
        """
        self.check()
        if state in ("idle", "retrying", "blocked"):
            self._works()  # first: whoever reads the beat may rely on it
        with self._lock:
            if state == "sending" and self._beat.reason is not None:
                return False
            reason = None if reason is None else shortened(reason)
            is_news = (state, reason) != (self._beat.state, self._beat.reason)
            if is_news:
                self._change(state, reason)
        return is_news

    def renew(self, why: str) -> None:
        """Have the work begin anew after the request in flight; for signal handlers and other threads."""
        self._renew = why

    def ending(self) -> str | None:
        """Return why this flusher is about to end, if so: it sends what it can, and waits for nothing any more."""
        why = self._ending() or self._stop_asked
        if why is not None and self._ends_at is None:
            self._ends_at = monotonic() + self._config.exit_timeout
        return why

    def check(self) -> None:
        """Beat where no thread does, and go on.

        Raises:
            Stopped: it is time to end.
        """
        self._begin_step()
        if not self._is_alone():
            logger.warning("the flusher's lock in %s was removed or replaced: another may flush", self._directory.root)
            raise Stopped("the lock is gone")
        self.beat_if_due()
        self._hear()
        if self._renew is not None:
            asked_for, self._renew = self._renew, None  # whoever asks from now on means something newer
            raise Renewed(asked_for)
        if self._leave is not None:
            raise Stopped(self._leave)
        why = self.ending()
        if why is not None and self._ends_at is not None and monotonic() >= self._ends_at:
            raise Stopped(why)

    @contextlib.contextmanager
    def request(self, *, is_question: bool = False) -> Iterator[None]:
        """Name the request in flight before it is sent: whoever comes after us may have to wait for its end.

        Nobody has to for the end of a question: it brings no events, or brings them to a broker.
        """
        self.check()
        self.before_request()
        if not is_question:
            with self._lock:
                if not self._requests:  # else an earlier one began before
                    self._note(in_flight=since_boot())
                self.beat()
        self._requests += 1
        self._begin_step()
        try:
            yield
            # Not where something else was raised, by a signal handler say: the server may be at work on it.
            if self._requests == 1 and not is_question:
                self._note(in_flight=None)
        finally:
            self._requests -= 1
            self._begin_step()

    def _begin_step(self) -> None:
        # Sending has the read timeout too, and an answer ends within twice that after the last read.
        connect, read = self._config.timeout
        limit = 2 * (2 * connect + 4 * read) + 30.0 if self._requests else _LOCAL_STEP
        self._step_ends = monotonic() + limit

    def sends(self, ids: Sequence[str]) -> tuple[list[str], bool]:
        """Note ids before they are sent to a server of 2022; see :meth:`.UnsettledIds.add`. The next beat says them."""
        with self._lock:
            noted = self._unsettled.add(ids)
            self._note(unsettled=self._unsettled.encode())
        return noted

    def does_not_have(self, ids: Iterable[str]) -> None:
        """Note that the server of 2022 does not have these ids, or that they are settled."""
        with self._lock:
            self._unsettled.discard(ids)
            self._note(unsettled=self._unsettled.encode())

    def in_doubt(self, since: float) -> None:
        """Note that the server may be at work on a request that began then: whoever comes after us waits for it too."""
        with self._lock:
            self._note(in_flight=since)
            self.beat()

    def reached(self, *, server: bool) -> None:
        """Note whether a connection could be made."""
        self._note(unreachable_since=None if server else self._beat.unreachable_since or since_boot())

    def key_is_refused(self) -> None:
        """Note that the server refuses the API key: a process with another one may take over now, or while we wait.

        Raises:
            Renewed: there is another one.
        """
        self._note(key_refused=True)
        if self._new_key():
            raise Renewed("the API key was replaced")

    def hold(self, reason: str, seconds: float, *, asked: int, is_blocked: bool = True) -> None:
        """Wait, because nothing can be sent.

        Whoever asked for a drain before that was tried (up to ``asked``) gets the reason at once, instead of waiting
        for a person; for those who ask later, perhaps after the person came, it is tried again at once.
        """
        state: FlusherState = "blocked" if is_blocked else "retrying"
        if self.enter(state, reason):
            logger.warning("delivery is %s, events are kept: %s", state, reason)
        self.answer(asked, reason)
        self.wait(seconds, asked=asked)

    def wait(self, seconds: float, *, asked: int | None = None) -> None:
        """Wait in the middle of a pass; less long, with ``asked``, when a drain is asked for after that one."""
        self._note(waits_until=time.time() + seconds)
        self.beat()
        try:
            for _ in self._ticks(seconds):
                if (why := self.ending()) is not None:
                    raise Stopped(why)
                if asked is not None and self._drain > asked:
                    return
        finally:
            self._note(waits_until=None)

    def rest(self, seconds: float) -> None:
        """Wait between two passes, less long when somebody asks for a drain."""
        for _ in self._ticks(seconds):
            if self._drain > self._beat.asked or self.ending() is not None:
                return

    def _ticks(self, seconds: float) -> Iterator[None]:
        """Wait, and yield now and then."""
        ends = monotonic() + seconds
        while (left := ends - monotonic()) > 0:
            self.check()
            with contextlib.suppress(OSError):
                self.meanwhile()
            yield
            if self.wake.wait(min(left, _LOOK_INTERVAL)):
                self.wake.clear()
        self.check()

    # Requests

    def asked(self) -> int:
        """Return the number of the last drain that was asked for."""
        self._hear()
        return self._drain

    def is_answered(self, number: int) -> bool:
        """Whether this request, and all before it, were carried out or refused."""
        return self._beat.asked >= number

    def answer(self, number: int, reason: str | None = None) -> None:
        """Say that everything asked for up to ``number`` was carried out, or why it cannot be now."""
        with self._lock:
            if number > self._beat.asked or (number == self._beat.asked and reason != self._beat.answer):
                self._note(asked=number, answer=reason and shortened(reason))
                self.beat()

    def _hear(self) -> None:
        """Read what is asked; where somebody removed the file, in the new one, from what was answered on."""
        size = newest(self._directory)
        if size < self._read_to:
            self._read_to = min(size, self._beat.asked)
        if size > self._read_to:
            for request in since(self._directory, self._read_to):
                self._read_to = request.number
                self._take(request)

    def _take(self, request: Request) -> None:
        match request.kind:
            case "drain":
                self._drain = request.number
            case "make way":
                self._leave = "another program flushes from now on"
            case "pause":
                self._leave, self.is_paused = "somebody changes what is in the books", True
            case "stop":
                self._stop_asked = "it was asked to stop"
            case "other organisation":
                self.note_key(request.about[:FINGERPRINT_SIZE], is_foreign=True)

    def note_key(self, key: bytes, *, is_foreign: bool) -> None:
        """Note whether the server says that a key is another organisation's than the events in the queue."""
        with self._lock:
            keys = split_keys(self._beat.foreign_keys) - {key}
            if is_foreign:
                keys.add(key)
            self._note(foreign_keys=b"".join(sorted(keys)[:_MOST_FOREIGN_KEYS]))

    # Progress and trouble

    def settled(self, progress: Progress, refusals: Sequence[Refusal], *, delivered_at: float | None) -> None:
        """Note that events were settled, and when any was delivered: whatever the trouble was, it is over.

        Those who wait for their verdict find what was parked or became a dead letter among the refusals.
        """
        self._works()
        with self._lock:
            self._refusals = [*self._refusals, *refusals][-_MOST_REFUSALS:]
            self._take_in(progress)
            before = self._beat
            self._note(trouble_since=None, key_refused=False, last_delivery=delivered_at or before.last_delivery)
            if before.reason is not None:
                self._change("sending", None)
            self._report_end_of_trouble()

    def show(self, progress: Progress) -> None:
        """Note how far the queue is settled, and write it: before anything is deleted on that word."""
        with self._lock:
            self._take_in(progress)
            self.beat()

    def _take_in(self, progress: Progress) -> None:
        self._progress = progress._replace(refusals=self._refusals)
        self._rate.note(progress.counts.delivered + progress.counts.handed_over)

    def caught_up(self, at: float) -> None:
        """Note that all that was accepted before this moment of the boot clock is settled."""
        self._note(caught_up_at=at)
        self._report_end_of_trouble()

    def takes_over_trouble(self, since: float) -> None:
        """Note that trouble was told before this flusher began: that it is over is told by this one."""
        self._reported_trouble = since

    def _report_end_of_trouble(self) -> None:
        since, self._reported_trouble = self._reported_trouble, None
        if since is not None:
            self.report(DeliveryResumed(f"events are delivered again, after {since_boot() - since:.0f} s"))

    def report(self, error: LotusError, events: Sequence[Mapping[str, str]] = ()) -> None:
        """Log what happened once, and have it told in a process that tracks: of one kind once a minute, counted."""
        logger.warning("%s", error)
        with self._lock:
            self._notices.add(error, events)
            self._publish_notices()

    def _publish_notices(self) -> None:
        """Put what is due into the beat."""
        self._note(notices=self._notices.with_what_is_due(self._beat.notices))

    def _change(self, state: FlusherState, reason: str | None) -> None:
        since = since_boot() if state != self._beat.state else self._beat.since
        trouble = self._beat.trouble_since
        if state in ("retrying", "blocked"):
            trouble = trouble or since_boot()
            if reason is not None:
                self._note(last_error=reason, last_error_at=time.time())
        elif state == "idle":
            trouble = None
        self._note(state=state, reason=reason, since=since, trouble_since=trouble)
        self.beat()

    # Beats

    def _note(self, **changes: object) -> None:
        with self._lock:
            self._beat = self._beat._replace(**changes)  # type: ignore[arg-type]

    def beat(self) -> None:
        """Write the heartbeat. A disk that refuses is no reason to stop: the lock says that somebody flushes."""
        with self._lock:
            self._beat_at = monotonic()
            self._publish_notices()
            self._note(beats=self._beat.beats + 1, at=since_boot(), rate=self._rate.now())
            beat = self._beat
            if beat.trouble_since is not None and (
                beat.state == "blocked" or since_boot() - beat.trouble_since >= self._config.constants.report_after
            ):
                self._reported_trouble = beat.trouble_since
            try:
                self._file.write(beat, self._progress)
            except OSError as error:
                logger.debug("cannot write the heartbeat: %s", error)

    def beat_if_due(self) -> None:
        """Beat twice a second, however often this is called."""
        if monotonic() - self._beat_at >= _BEAT_INTERVAL:
            self.beat()

    def is_stuck(self) -> bool:
        """Whether the step at hand takes longer than it can."""
        return monotonic() > self._step_ends

    def forgive(self, seconds: float) -> None:
        """Give the step at hand more time: this whole process was stopped for so long."""
        self._step_ends += seconds

    def end(self, state: FlusherState) -> None:
        """Write the last beat of this flusher (``ended``), or that it is about to (``leaving``)."""
        with self._lock:
            notices = self._notices.with_what_is_due(self._beat.notices, all_are=True)  # nobody else would tell them
            self._note(state=state, reason=None, trouble_since=None, notices=notices)
            self._step_ends = float("inf")
            self.beat()

    def close(self) -> None:
        """Close the heartbeat, however this ends."""
        self._file.close()
