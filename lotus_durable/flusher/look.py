"""The look: is somebody flushing? If not, start a flusher. Is there trouble? If so, report it. At most twice a second.

It is made after an event was appended, never before. A flusher that leaves sees every event that is on disk by then,
and a look that comes later sees that the flusher is gone; so no event falls between them (:mod:`.life` has the other
half). A look takes no lock that anybody waits for, and raises nothing.

It is one file, because what a look finds first decides what it asks next.
"""

from __future__ import annotations

import contextlib
import os
import sys

from lotus_durable.clock import since_boot
from lotus_durable.config import Config
from lotus_durable.disk import DiskErrorsSuppressed, is_of_the_disk, is_there
from lotus_durable.log import logger
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.files import open_to_read, opened_to_read
from lotus_durable.queue.heartbeat import Beat, Program, beat_in

from . import hung, locks
from .making_way import asks_to_make_way
from .reporting import TroubleReporter
from .spawn import encode_settings, find_interpreter, size_of_log, start_flusher
from .starting import Notes, Starting, last_words
from .surroundings import this_program, version_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .reporting import Report

_NEWEST_INTERVAL = 20.0
"""Seconds between two notes that this version is still in use."""


_IN_CHILD = (
    "; events wait in {}. This is a child process of multiprocessing: what its parent sets under "
    '`if __name__ == "__main__":` does not reach it. Set it in the environment, or call lotus_durable.configure(...) '
    "in each child (the initializer of a pool)"
)


class Look:
    """One process's looks at one queue."""

    def __init__(self, directory: QueueDirectory, config: Config, report: Report) -> None:
        self._directory = directory
        self._config = config
        self._starting = Starting(directory)
        self._reporter = TroubleReporter(directory, self._starting, config.constants, report)
        self._program: Program | None = None
        self._asked = False
        self._noted_newest_at = float("-inf")
        self._blind_since: float | None = None
        self.drains = False
        """This process flushes where it starts no flusher, and says so if it cannot: that is no trouble to report."""

    def look(self) -> None:
        """Look once.

        Raises:
            Exception: a signal handler of the application raised it in the middle (a time limit of a task, say).
        """
        try:
            self._look()
        except Exception as error:
            # The caller's event is on disk, whatever happens here.
            if not _is_ours(error):
                raise
            self._reporter.warn_once(f"looking after the flusher failed: {type(error).__name__}: {error}")

    def note_in_memory(self, events: int) -> None:
        """Note, for who asks for the status, how many events of this process the disk has not taken; 0: it has."""
        with self._starting.changing() as notes:
            if notes is not None:
                others = {pid: count for pid, count in notes.in_memory.items() if pid != os.getpid()}
                notes.in_memory = {**others, os.getpid(): events} if events else others

    def somebody_flushes(self) -> bool | None:
        """Whether somebody holds the flusher's lock; None when that cannot be told."""
        return locks.is_held(self._directory.flusher_lock)

    def is_on_its_way(self) -> bool:
        """Whether a flusher was started and does not flush yet."""
        return self._starting.is_starting()

    def cannot_start(self) -> bool:
        """Whether nobody flushes, and the next start is put off: the last ones came to nothing."""
        return self.somebody_flushes() is False and self._starting.read().next_start > since_boot()

    def why_none_is_started(self) -> str | None:
        """Return why this process starts no flusher; None where it does."""
        if self._config.flusher == "external":
            return (
                'flusher is "external" and nobody flushes: is the service that runs `lotus-durable flusher` down? '
                "events are kept on disk"
            )
        if not self._config.can_send():
            no_key = "no API key is set (lotus_durable.api_key or LOTUS_API_KEY), so no flusher is started"
            return no_key + (_IN_CHILD.format(self._directory.root) if _is_child_of_multiprocessing() else "")
        if find_interpreter() is None:
            return (
                f"no Python interpreter is found to run the flusher (sys.executable is {sys.executable}): events are "
                "kept on disk; run `lotus-durable flusher` beside this program, or call drain()"
            )
        return None

    @property
    def program(self) -> Program:
        """What this process would flush with."""
        if self._program is None:  # no cached_property: its lock, before 3.12, may be a forked child's for ever
            self._program = this_program(self._config)
        return self._program

    # What is found

    def _look(self) -> None:
        hung.reap()
        is_held, beat = self._glance()
        if is_held is None and (beat is None or not hung.is_young(beat)):
            self._report_blindness()
            return
        self._blind_since = None
        if is_held is not False:
            self._look_at(beat)
            return
        if not is_there(self._directory.root):
            return  # removed with all that was in it: nobody needs a flusher, and nothing is made there again
        if beat is not None:
            self._reporter.report_notices(beat)
        notes = self._starting.read()
        if notes.is_starting or self.somebody_flushes():
            return  # the last: one that was on its way has come to flush since we looked
        self._none_flushes(notes, beat)

    def _glance(self) -> tuple[bool | None, Beat | None]:
        """Return whether somebody flushes, and the last beat; where a flusher could lock the heartbeat, of one file."""
        beat = None
        with DiskErrorsSuppressed():
            descriptor = open_to_read(self._directory.heartbeat)  # opened_to_read() is a tenth of a look
            try:
                is_held, beat = locks.is_held_in(descriptor), beat_in(descriptor)
            finally:
                os.close(descriptor)
            if is_held:
                return True, beat
        # Nobody; or the heartbeat was replaced since, or the disk had no room for one.
        return self.somebody_flushes(), beat

    def _report_blindness(self) -> None:
        """Report, when it lasts, that nobody can tell whether somebody flushes: none is started for as long."""
        now = since_boot()
        if self._blind_since is None:
            self._blind_since = now
        if now - self._blind_since < self._config.constants.report_after:
            return
        why = "its lock cannot be read"
        try:
            with opened_to_read(self._directory.flusher_lock):
                pass
        except OSError as error:
            if not is_of_the_disk(error):
                raise
            why = str(error)
        self._reporter.report_blocked(why, what="whether there is a flusher cannot be found out")

    def _look_at(self, beat: Beat | None) -> None:
        if beat is None or not hung.is_young(beat):
            self._look_at_silent(beat)
            return
        self._reporter.report_notices(beat)
        if beat.trouble_since is not None:
            self._reporter.report_trouble(beat)
        self._note_version()
        if beat.kind == "auto" and self._asks(beat) and self.start(make_way=True):
            self._asked = True

    def _look_at_silent(self, beat: Beat | None) -> None:
        """End who holds the lock and has not beaten for long, or name who it is; after a while."""
        patience = self._config.constants.hung_after
        if beat is None or beat.is_over():  # whoever took the lock since, and has not begun to flush
            beat = hung.stopped_holder(self._directory, self.program)
        elif beat.kind == "caller" and beat.in_flight is not None and not hung.is_stopped(beat):
            patience += 2 * sum(self._config.timeout)  # it beats between its steps only, and this one is a request
        is_ended = False
        with self._starting.changing(insist=True) as notes:
            assert notes is not None  # it insists
            seen = hung.note_look(notes, beat)
            if seen.elapsed < patience:
                return
            if beat is None:
                why_not: str | None = hung.NOBODY_KNOWN
            elif seen.killed_at is not None:
                why_not = hung.why_it_lives(beat, seen.killed_at)
            elif (why_not := hung.end(beat)) is None:
                notes.seen, is_ended = seen._replace(killed_at=since_boot()), True
        if why_not is not None:
            self._reporter.report_blocked(why_not)
        elif is_ended and beat is not None:
            logger.warning("ended the flusher %d, which showed no sign of life for %.0f s", beat.pid, seen.elapsed)
            self._none_flushes(self._starting.read(), beat, is_ended=True)  # now: there may be no next look

    def _none_flushes(self, notes: Notes, beat: Beat | None, *, is_ended: bool = False) -> None:
        """Start one, or tell why not; after the last one with this beat, which may have been ended just now."""
        if notes.start_to_note() is not None:
            notes = self._note_end(beat)
        why = self.why_none_is_started()
        if why is None and notes.next_start <= since_boot():
            self.start(is_ended=is_ended)
            self._note_version()  # now, when the call takes its time anyway, and not in one that finds it flushing
            return
        if why is None:
            holder = hung.stopped_holder(self._directory, self.program)
            if holder is not None:  # somebody has removed its lock file
                self._look_at_silent(holder)
                return
            why = notes.failure()
        elif self.drains or (self._config.flusher == "external" and not self._is_unserved(notes)):
            return
        self._reporter.report_blocked(why)

    def _note_end(self, beat: Beat | None) -> Notes:
        """Note what the last start came to, if nobody has: it failed, unless it has ended in order."""
        with self._starting.changing() as notes:
            if notes is not None and (start := notes.start_to_note()) is not None:
                has_flushed = beat is not None and since_boot() - beat.age() > start.began_at
                if has_flushed and beat is not None and beat.is_over():
                    notes.ended()
                else:
                    notes.failed(last_words(self._directory, start.log_size), has_flushed=has_flushed)
        return self._starting.read()

    def _is_unserved(self, notes: Notes) -> bool:
        """Whether events wait, and nobody flushes, for so long that it is told: services are started in any order."""
        now, patience = since_boot(), self._config.constants.report_after
        since: float | None = now
        if notes.nobody_since is not None:
            if now - notes.nobody_since < patience:
                return False
            waits = self._reporter.waiting()
            if waits is None or (waits.pending and (waits.oldest_age is None or waits.oldest_age >= patience)):
                return True
            # Whoever runs `drain` now and then has no service. What waits has come since.
            since = None if waits.oldest_age is None else now - waits.oldest_age
        with self._starting.changing() as changed:
            if changed is not None and changed.nobody_since == notes.nobody_since:
                changed.nobody_since = since
        return False

    # Starting

    def start(self, *, make_way: bool = False, is_ended: bool = False) -> bool:
        """Start a flusher unless one is on its way; return whether this process did.

        Args:
            make_way: somebody flushes, and is to make way for it.
            is_ended: whoever still holds the lock, for a moment, was ended; the new one waits.
        """
        if (interpreter := find_interpreter()) is None:
            return False
        self._directory.prepare()
        settings = encode_settings(
            self._config,
            _module_paths(),
            began=self.program.began,
            log_level=int(logger.getEffectiveLevel()),  # which may be a member of an Enum
            make_way=make_way,
        )
        lock = self._starting.begin()
        if lock is None:
            return False
        is_given = False  # the lock, to the flusher
        try:
            if not (make_way or is_ended) and self.somebody_flushes():
                return False  # it was started by another, and came to flush since we looked
            self._starting.note(lock, size_of_log(self._directory, is_open=make_way))
            is_given = True
            start_flusher(interpreter, self._directory, settings, lock)
        except OSError as error:
            if not is_of_the_disk(error):
                raise
            self._start_refused(f"no process can be started: {error.strerror or error}")
            return False
        finally:
            if not is_given:
                locks.let_go(lock)  # also for a child that another thread forked in this moment
                os.close(lock)
        logger.debug("started a flusher for the queue in %s", self._directory.root)
        return True

    def _start_refused(self, reason: str) -> None:
        with self._starting.changing() as notes:
            if notes is not None:
                notes.failed(reason)
        self._reporter.report_blocked(f"a flusher cannot be started: {reason}")

    def _asks(self, beat: Beat) -> bool:
        """Whether a flusher of this process's should take over from the one that flushes."""
        may_be_newer = not self._asked and beat.program.began < self.program.began
        if not (may_be_newer or beat.key_refused or beat.unreachable_since is not None):
            return False
        if self._config.flusher != "auto" or not self._config.can_send() or find_interpreter() is None:
            return False
        if beat.program == self.program or self._starting.is_starting():
            return False
        now = since_boot()
        with self._starting.changing() as notes:
            if notes is None or notes.next_start > now:
                return False
            return asks_to_make_way(beat, self.program, notes, self._config.constants, has_asked=self._asked, now=now)

    def _note_version(self) -> None:
        now = since_boot()
        if now - self._noted_newest_at < _NEWEST_INTERVAL:
            return
        self._noted_newest_at = now
        with self._starting.changing() as notes:
            if notes is None:
                return
            notes.nobody_since = None
            if version_order(self.program.version) >= version_order(notes.newest_version):
                notes.newest_version, notes.newest_at = self.program.version, now


def _is_ours(error: Exception) -> bool:
    """Whether an error was raised by what is called here, and not by a handler of the application's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    package = module.partition(".")[0]
    return package == "lotus_durable" or package in sys.stdlib_module_names


def _module_paths() -> list[bytes]:
    """Return where this process looks for modules, as paths that mean the same in another working directory."""
    found = []
    for path in sys.path:
        if isinstance(path, str | os.PathLike):
            # The working directory was removed; no file can have such a name.
            with DiskErrorsSuppressed(), contextlib.suppress(UnicodeEncodeError):
                found.append(os.fsencode(os.path.abspath(os.fspath(path))))
    return found


def _is_child_of_multiprocessing() -> bool:
    module = sys.modules.get("multiprocessing.process")  # a child has it, and who has not need not import it
    return module is not None and module.parent_process() is not None
