"""The life of a flusher: it takes the lock, works while there is something to do, and leaves no event behind.

To leave it lets go of the lock first, waits longer than a look is trusted, and reads the directory once more. By then
every event is on disk whose process has still seen the lock in its last look. If there is one, and nobody else has the
lock, the flusher takes it again and goes on.

It is one file, so that a flusher's life can be read from its beginning to its end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable

from lotus_durable.clock import boot_id, monotonic, since_boot
from lotus_durable.config import Config
from lotus_durable.delivery.control import Control, Renewed, Stopped
from lotus_durable.delivery.loop import Loop
from lotus_durable.delivery.place import Destination
from lotus_durable.errors import DeliveryBlocked, LotusError
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, read_beat
from lotus_durable.queue.identity import read_identity
from lotus_durable.queue.kept import KeptSegments
from lotus_durable.queue.requests import begin_anew
from lotus_durable.queue.rows import has_rows
from lotus_durable.queue.stats import FlusherKind
from lotus_durable.queue.sync import JournalSync

from . import locks
from .background import beating, every, sync_all
from .early_warning import EarlyWarnings
from .lock import FlusherLock
from .repeated import repeats_held_back
from .starting import Starting
from .surroundings import pid_namespace, process_status, this_program

logger: logging.Logger = logging.getLogger("lotus_durable")

_PAUSE_BEGINS_WITHIN = 2.0
"""Seconds in which who asked for a pause takes the lock."""
_PAUSE_LOOK = 0.02
_KEPT_SHARE = 4
"""Of the limit of a queue, the part that delivered segments may take, beside it, with ``keep_delivered``."""
_KEPT = ("last_delivery", "last_error", "last_error_at", "asked", "unsettled", "foreign_keys")
_KEPT_IN_ONE_BOOT = ("trouble_since", "caught_up_at", "notices", "in_flight")
"""What a flusher goes on with of the last beat before it; the latter are moments since boot."""
_PAUSE = 1.0
"""Seconds between two tries where the queue cannot be opened, or the work failed."""


class Flusher:
    """One process that flushes one queue.

    Args:
        config: gives the options of now: a key file may have changed, or a person asked to read them again.
        kind: who runs it; see :class:`~lotus_durable.queue.heartbeat.Beat`.
        began: when the program that started it was started; of this one if not given.
        ending: returns why it is time to end, if so.
        destination: where the events go; None for one that only holds the queue: that takes no requests, nor time to
            import it.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        *,
        kind: FlusherKind,
        began: float | None = None,
        ending: Callable[[], str | None] = lambda: None,
        destination: Destination | None,
    ) -> None:
        self._configuration = config
        self.config: Config = config()
        self.directory: QueueDirectory = QueueDirectory(self.config.queue_dir)
        self.lock: FlusherLock = FlusherLock(self.directory)
        self._kind = kind
        self._began = began
        self._ending = ending
        self._count = 0
        self._worked_at = float("-inf")
        self._held = 0
        self._knows_nothing = False
        self._destination = destination
        self.control: Control | None = None

    def run(self, is_done: Callable[[Control], bool] | None = None) -> str:
        """Flush, with the lock held, until it is time to end, and return why; the lock is let go of then.

        Args:
            is_done: whether that is so after a pass; if not given, when nothing came for a while (``auto``), or never.
        """
        with repeats_held_back(logger):
            while True:
                why = self._hold(is_done)
                if self._is_paused():
                    if not self._has_lock_again():
                        return why or "another one flushes"
                elif why is not None or not self._something_is_left():
                    return why or "nothing is left to do"
                logger.debug("something came: it goes on")

    def _hold(self, is_done: Callable[[Control], bool] | None) -> str | None:
        """Flush until it is time to leave, and let go of the lock; return why it must end, None where it may go on."""
        last = read_beat(self.directory)
        if last is None and self.control is not None:
            last = self.control.last_beat  # somebody has deleted it, and only we know what we had sent
        try:
            self.config = self._current_configuration()
            control = self.control = self.make_control(last)
            while True:
                try:
                    control.check()  # nothing is made in a directory that was removed or replaced meanwhile
                    try:
                        look = EarlyWarnings(self.directory, self.config, control.report).look
                        warning = self._beside(look, self.config.constants.report_interval, "early warning")
                        with beating(control, self.directory, self._kind), warning:
                            self._flush(control, last, is_done)
                    except (OSError, LotusError) as error:
                        self._failed(control, error)
                        raise Renewed(str(error)) from error
                    why = control.ending() or ("it was asked for no more" if is_done is not None else None)
                except Renewed as reason:
                    logger.debug("beginning anew: %s", reason)
                    self.config, last = self._current_configuration(), None
                    control.begin_anew(self.config, this_program(self.config, self._began))
                    continue
                except Stopped as stopped:
                    # Who was not told to end sees to what came on the word of a look that still saw the lock: the one
                    # that it made way for may have died meanwhile.
                    may_go_on = self._kind == "auto" and control.ending() is None
                    why = None if may_go_on else str(stopped)
                    logger.debug("it lets go of the lock: %s", stopped)
                if self.lock.is_held():
                    control.end("ended")
                return why
        finally:
            if self.control is not None:
                self.control.close()
            self.lock.release()

    def _flush(self, control: Control, before: Beat | None, is_done: Callable[[Control], bool] | None) -> None:
        begin_anew(self.directory)
        consumer = self.open_consumer(control, before)
        sync = JournalSync(self.directory, control.report)
        control.meanwhile = consumer.keep_books  # this process may be killed in the middle of a long wait
        try:
            control.show(consumer.progress())
            assert self._destination is not None
            with self._destination.opened(self.config, consumer, control) as way:
                if (since := control.last_beat.in_flight) is not None:
                    # A sender that is killed leaves its request running for as long as the server takes.
                    for place in way.places:
                        place.may_be_in_flight(since)
                loop = Loop(way.source or consumer, control, way.places, self.config, may_send=way.may_send)

                def ends() -> bool:
                    consumer.let_go(sync.failed)
                    if self._kind == "caller":
                        sync_all(sync, self.directory)
                    self._held = loop.left
                    if is_done is not None:
                        return control.ending() is not None or is_done(control)
                    if control.ending() is not None:
                        return not consumer.has_pending()  # what came during this pass goes too, within exit_timeout
                    is_idle = self._kind == "auto" and loop.idle_for() >= self.config.constants.idle_before_end
                    return is_idle and consumer.has_books_in_place()  # else nobody could write them back any more

                self._held = 0
                # A disk may take long, and delivery goes on meanwhile.
                with self._beside(lambda: sync_all(sync, self.directory), self.config.sync_interval, "sync"):
                    loop.run(ends)
        finally:
            control.meanwhile = lambda: None
            with contextlib.suppress(OSError, LotusError):
                if self.lock.is_held():  # else the path may lead into another queue by now
                    consumer.keep_books()
            self._knows_nothing = consumer.may_repeat  # what it has sent itself it knows
            consumer.close()

    def _beside(self, work: Callable[[], None], interval: float, name: str) -> contextlib.AbstractContextManager[None]:
        """Have something done each interval by a thread; not in a program that drains: it gets no thread of ours."""
        if self._kind == "caller":
            return contextlib.nullcontext()
        return every(interval, work, f"lotus_durable {name}")

    def open_consumer(self, control: Control, before: Beat | None) -> Consumer:
        """Open the queue, for the holder of the lock.

        Raises:
            OSError: the disk refuses.
            QueueDamaged: the queue cannot be read.
        """
        kept = KeptSegments(self.directory, self.config.keep_delivered, self.config.max_queue_bytes // _KEPT_SHARE)
        consumer = Consumer(self.directory, control.report, kept)
        if self._knows_nothing:
            consumer.doubt()
        if before is not None and before.boot == boot_id() and consumer.is_new and before.in_flight is None:
            control.in_doubt(before.at)  # it may have sent something after its last beat that we know
        return consumer

    def make_control(self, before: Beat | None) -> Control:
        """Return what the holder of the lock shows and hears, going on from the last beat of whoever had it before."""
        self._knows_nothing = before is None
        status = process_status("self")
        read_identity(self.directory)  # of a later version it is left alone, the heartbeat too
        first = Beat(
            pid=os.getpid(),
            pid_namespace=pid_namespace(),
            start_time=0 if status is None else status.start_time,
            uid=os.geteuid(),
            hostname=socket.gethostname(),
            boot=boot_id(),
            kind=self._kind,
            program=this_program(self.config, self._began),
            beats=0 if self.control is None else self.control.last_beat.beats,
            at=since_boot(),
            state="starting",
            since=since_boot(),
        )
        # A trouble that was told goes on until something is delivered, whoever does; and a request in flight until it
        # was waited out: this one may be killed while it waits.
        kept = () if before is None else _KEPT if before.boot != boot_id() else (*_KEPT, *_KEPT_IN_ONE_BOOT)
        first = first._replace(**{name: getattr(before, name) for name in kept})
        return Control(
            self.directory,
            first,
            self.config,
            ending=self._ending,
            is_alone=self.lock.is_held,
            read_to=self.lock.requests_before,
            new_key=self._has_new_key,
            works=self._succeeded,
        )

    def _current_configuration(self) -> Config:
        """Return the options of now; those of before where they cannot be read again."""
        try:
            return self._configuration()
        except LotusError as error:
            logger.warning("the options stay as they were: %s", error)
            return self.config

    def _has_new_key(self) -> bool:
        """Whether the key file, or whatever the options come from, names another key by now."""
        try:
            return self._configuration().api_key not in (None, self.config.api_key)
        except LotusError as error:
            logger.warning("the API key is refused, and cannot be read again: %s", error)
            return False

    def _succeeded(self) -> None:
        """Note that the start did not fail, and take over the trouble that was told before.

        Not as late as after a pass: an outage may last for days. And again when there was no sign of work for as long
        as others wait before they tell that: this process was stopped.
        """
        now, before = monotonic(), self._worked_at
        self._worked_at = now
        if now - before < self.config.constants.hung_after:
            return
        with Starting(self.directory, makes=False).changing() as notes:
            if notes is None:
                self._worked_at = before
                return
            notes.succeeded()
            nobody_since, notes.nobody_since = notes.nobody_since, None
        if notes.reported_at > 0 and self.control is not None:
            self.control.takes_over_trouble(nobody_since or self.control.last_beat.trouble_since or notes.reported_at)

    def _failed(self, control: Control, error: OSError | LotusError) -> None:
        """Say what went wrong, and wait: whatever it is, the events are on disk and the next try may go better.

        Raises:
            Stopped: it is time to end.
        """
        text = str(error) if isinstance(error, LotusError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, LotusError):
            logger.error("flushing failed and is tried again: %s", text, exc_info=error)
        is_blocked = isinstance(error, DeliveryBlocked)
        seconds = self.config.constants.probe_interval if is_blocked else _PAUSE
        control.hold(text, seconds, asked=control.asked(), is_blocked=is_blocked)

    def _is_paused(self) -> bool:
        """Whether it has let go of the lock for somebody who changes the books, and is to go on afterwards."""
        return self.control is not None and self.control.is_paused and self.control.ending() is None

    def _has_lock_again(self) -> bool:
        """Wait until whoever asked for the lock has had it, and take it again; False where another one flushes."""
        taken_by = monotonic() + _PAUSE_BEGINS_WITHIN
        was_taken = False
        while not self._must_end() and os.path.isdir(self.directory.root):
            is_held = locks.is_held(self.directory.flusher_lock) is not False
            was_taken = was_taken or is_held
            if not is_held and (was_taken or monotonic() > taken_by):
                if self.lock.acquire():
                    return True
            elif is_held:
                beat = read_beat(self.directory)
                if beat is not None and beat.kind != "caller" and not beat.is_over():
                    return False  # not somebody who has the lock for a while: one that goes on flushing
            time.sleep(_PAUSE_LOOK)
        return False

    def _something_is_left(self) -> bool:
        """Wait until no look of before is trusted any more, and take the lock again where something came meanwhile.

        And as long as another one is on its way: it may be waiting for the one to which this one has made way.
        """
        starting = Starting(self.directory, makes=False)
        ends = monotonic() + self.config.constants.leaving_wait
        while (left := ends - monotonic()) > 0 or starting.is_starting():
            if self._must_end() or not os.path.isdir(self.directory.root):
                return False
            time.sleep(min(left, 0.1) if left > 0 else 0.1)
        try:
            pending = count(self.directory).pending
            if pending <= self._held and not has_rows(self.directory):
                return False
        except (OSError, LotusError):
            return False  # the directory is gone, say
        if not self.lock.acquire():
            return False
        if self._must_end():
            self.lock.release()
            return False
        return True

    def _must_end(self) -> bool:
        """Whether a signal, or whoever asked to stop since it let go of the lock, has asked for the end.

        Not only the one that had the lock then was meant.
        """
        if self.control is not None:
            self.control.asked()
            return self.control.ending() is not None
        return self._ending() is not None
