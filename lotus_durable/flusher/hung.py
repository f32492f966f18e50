"""Ending a flusher that hangs or is stopped, and no other process; or saying which process it is, where we may not."""

from __future__ import annotations

import contextlib
import os

from lotus_durable.clock import boot_id, since_boot
from lotus_durable.disk import DiskErrorsSuppressed
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, Program

from .starting import Notes, Seen
from .surroundings import COMMAND, content_of, last_groups, pid_namespace, process_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # signal itself makes enums of all numbers

_YOUNG = 2.0
"""Seconds; a beat this young is a healthy flusher's, even if this process is slow."""
_ONE_LOOK = 0.4
"""Seconds between two looks that count: many processes may look at the same moment."""
_STOPPED = "Tt"
"""States of a process: by a signal, or by a debugger."""
_DIES_WITHIN = 2.0
"""Seconds in which SIGKILL takes effect, unless the process is frozen or in an uninterruptible sleep."""
_LONGEST_GAP = 3.0
"""The most seconds that a gap between two looks counts: all processes may have been stopped, or the machine asleep."""

NOBODY_KNOWN = (
    "a process holds the flusher's lock and shows no sign of life: `fuser flusher.lock` in the queue directory "
    "names it; end that one"
)


def is_young(beat: Beat) -> bool:
    """Whether nothing need be noted about this beat."""
    return beat.age() < _YOUNG


def stopped_holder(directory: QueueDirectory, program: Program) -> Beat | None:
    """Return, as if it had beaten, the stopped flusher that holds the lock; None where that is none, or cannot be told.

    It may have been stopped before its first beat, or somebody has removed its heartbeat. One that is not stopped may
    be unable to write a heartbeat.
    """
    with DiskErrorsSuppressed():
        lock = os.stat(directory.root)  # which it has locked, too, and nobody replaces
        file = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
        for line in content_of("/proc/locks").decode().splitlines():
            _, kind, _, _, pid, place, *_ = line.replace("-> ", "").split()
            status = process_status(pid) if (kind, place) == ("FLOCK", file) else None
            if status is not None and status.name == COMMAND and status.state in _STOPPED:
                uid = os.stat(f"/proc/{pid}").st_uid
                where = pid_namespace(), status.start_time, uid, os.uname().nodename, boot_id()
                return Beat(int(pid), *where, "auto", program, beats=0, at=0.0, state="starting")
    return None


def is_stopped(beat: Beat) -> bool:
    """Whether the process that wrote this beat is stopped (by a signal, or a debugger), as far as can be told here."""
    status = process_status(beat.pid)
    return status is not None and status.start_time == beat.start_time and status.state in _STOPPED


def note_look(notes: Notes, beat: Beat | None) -> Seen:
    """Note that this beat was seen (again), or that there was none, and return since when."""
    now = since_boot()
    seen = notes.seen
    found = (0, 0, 0) if beat is None else (beat.pid, beat.start_time, beat.beats)
    if seen is None or seen[:3] != found:
        seen = Seen(*found, now)
    elif (gap := now - seen.last) >= _ONE_LOOK:
        seen = seen._replace(elapsed=seen.elapsed + min(gap, _LONGEST_GAP), last=now)
    notes.seen = seen
    return seen


def why_it_lives(beat: Beat, killed_at: float) -> str | None:
    """Return who it is that outlives SIGKILL, and why; None while it may still be dying."""
    if since_boot() - killed_at < _DIES_WITHIN:
        return None
    return (
        f"{_who(beat)}; it was killed and does not die: it ends when its cgroup is thawed (cgroup v1 freezer), or "
        "when the device answers that it waits for"
    )


def end(beat: Beat) -> str | None:  # noqa: PLR0911  # each reason is a return
    """End the process that wrote this beat last; return None when that was done, else who it is and why not.

    A number may be another process's by now: the process is held by a pidfd first, and compared then.
    """
    who = _who(beat)
    by_hand = f"end it by `kill -KILL {beat.pid}`"
    if beat.kind == "caller":
        return f"{who}; it is a program in the middle of its own drain(): let it go on or end it"
    if beat.pid_namespace != pid_namespace():
        return f"{who}; it runs in another container: let it go on (kill -CONT) or end it there"
    if not hasattr(os, "pidfd_open") or process_status("self") is None:  # a chroot without /proc: nothing to compare
        return f"{who}; {by_hand}"
    try:
        descriptor = os.pidfd_open(beat.pid)
    except ProcessLookupError:
        return _copied(beat)
    except OSError as error:
        return f"{who}; it cannot be ended from here ({error.strerror}): {by_hand}"
    try:
        status = process_status(beat.pid)
        if status is None or status.start_time != beat.start_time:
            return _copied(beat)
        if beat.uid != os.geteuid():
            return f"{who}; it belongs to user {beat.uid}: {by_hand}"
        _signal.pidfd_send_signal(descriptor, _signal.SIGKILL)
    except PermissionError:
        return f"{who}; this process may not end it: {by_hand}"
    except ProcessLookupError:
        pass  # by itself, in this moment
    finally:
        os.close(descriptor)
    return None


def _who(beat: Beat) -> str:
    return f"process {beat.pid} on {beat.hostname} holds the flusher's lock and shows no sign of life"


def _copied(beat: Beat) -> str:
    return (
        f"process {beat.pid}, which flushed, is gone, and another process holds a copy of its lock: "
        "`fuser flusher.lock` in the queue directory names it; end that one"
    )


def reap() -> None:
    """Reap flushers that have ended, where orphans fall to this process (process 1 of a container, a subreaper).

    Whoever started them, and whatever they came to. They fall to the first thread of a process.
    """
    if not hasattr(os, "waitid"):  # macOS, where neither of the two exists
        return
    try:
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return  # nobody has ended: 1 µs
        children = content_of(f"/proc/self/task/{os.getpid()}/children").split()
    except (ChildProcessError, FileNotFoundError, PermissionError):
        return  # there are no children, or no such list
    for child in children:
        status = process_status(int(child))
        if status is not None and status.state == "Z" and (status.name == COMMAND or status.group in last_groups):
            with contextlib.suppress(ChildProcessError):  # the application was faster
                os.waitpid(int(child), os.WNOHANG)
