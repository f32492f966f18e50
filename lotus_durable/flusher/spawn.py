"""A child from its starter's side: started with the leader lock in its hands, heard, and reaped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from pathlib import Path

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import clear_heartbeat

from .messages import BOOT

LIFE, REPORTS, ERRORS, LOCK = range(4)
"""The descriptors of a child: its starter's settings and sign of life, what it reports, the same, the leader lock."""

HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""Blocked until the child comes to say what it does about them."""

_HIGH = 10
"""Descriptors are moved to this and above, or one of them could be what another is to become."""
_READ_SIZE = 1 << 16

_spawning = threading.RLock()
"""Held while a child is started. A fork waits for it: the lock's descriptor must not get into any other process."""
_children: set[Child] = set()


class Child:
    """A running child. Its starter's descriptors are closed when it is let go of and when it has ended."""

    def __init__(self, pid: int, life: int, reports: int) -> None:
        self.pid = pid
        self._starter = os.getpid()
        # Lists, because taking from one is atomic: several threads may come to close them.
        self._life = [life]
        self._reports = [reports]
        self._is_reaped = False
        _children.add(self)

    def read(self) -> bytes:
        """Return what it has written since the last call; empty when there is nothing, and when it has ended."""
        try:
            data = os.read(self._reports[0], _READ_SIZE)
        except (IndexError, BlockingIOError):
            return b""
        if not data:
            _close(self._reports)
        return data

    def has_ended(self) -> bool:
        """Whether it has ended, and all it wrote was read. It is reaped then, by this process or by whoever was faster.

        Only when its pipe has ended is it waited for by its number: until then no other process can have that.
        """
        if not self._reports and not self._is_reaped:
            try:
                self._is_reaped = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
            except ChildProcessError:
                self._is_reaped = True  # the application waits for any child, or for none (SIGCHLD ignored)
            if self._is_reaped:
                self.let_go()
                _children.discard(self)
        return self._is_reaped

    def let_go(self) -> None:
        """Have it end after its request in flight and the commit."""
        _close(self._life)

    def abandon(self) -> None:
        """In a forked process: it is the parent's child."""
        self._is_reaped = True
        _close(self._reports)
        self.let_go()


def start_child(interpreter: str, directory: QueueDirectory, message: bytes) -> Child | None:
    """Start a child that leads; None when somebody leads already.

    Args:
        interpreter: the path of a Python.
        directory: of the queue.
        message: what the child is told at its start, a line.

    Raises:
        OSError: the lock cannot be used, or no process can be started.
    """
    with _spawning, contextlib.ExitStack() as kept, contextlib.ExitStack() as passed_on:
        claim = _claim(directory.leader_lock)
        if claim is None:
            return None
        passed_on.callback(os.close, claim)
        (life, life_here), (reports_here, reports) = os.pipe(), os.pipe()
        for stack, descriptor in ((passed_on, life), (passed_on, reports), (kept, life_here), (kept, reports_here)):
            stack.callback(os.close, descriptor)
        for descriptor in (life_here, reports_here, reports):
            os.set_blocking(descriptor, False)
        if os.write(life_here, message) != len(message):
            raise OSError(f"its settings ({len(message)} bytes) are more than a pipe holds")
        given = {LIFE: life, REPORTS: reports, ERRORS: reports, LOCK: claim}
        # What a leader that was killed left behind: it would look as if that held the lock, until the child has begun.
        clear_heartbeat(directory)
        pid = os.posix_spawn(
            interpreter,
            # -P: not the working directory's modules, before it is told where to look.
            [interpreter, "-P", "-c", BOOT, "lotus-durable uploader", str(directory.root)],
            {name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, _moved_up(descriptor, passed_on), there) for there, descriptor in given.items()
            ],
            setsigmask=HELD_BACK,
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
        kept.pop_all()
        # The lock is the child's now: ours is closed here, without unlocking, and it is held for as long as the
        # child has it open.
        return Child(pid, life_here, reports_here)


def abandon_inherited() -> None:
    """Close what this process inherited of its parent's children; at once, or they would outlive their starter."""
    for child in list(_children):
        if child._starter != os.getpid():
            child.abandon()
            _children.discard(child)


def _claim(lock: Path) -> int | None:
    """Take the leader lock as filelock does, and return its descriptor; None when somebody has it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here, there = os.fstat(descriptor), os.stat(lock)
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            return descriptor
    except (BlockingIOError, FileNotFoundError):  # FileNotFoundError: deleted in this very moment
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _moved_up(descriptor: int, stack: contextlib.ExitStack) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    stack.callback(os.close, moved)
    return moved


def _close(descriptors: list[int]) -> None:
    with contextlib.suppress(IndexError):
        os.close(descriptors.pop())


def _after_fork_in_child() -> None:
    global _spawning  # noqa: PLW0603  # the state of this process, which begins here
    _spawning = threading.RLock()
    abandon_inherited()


def _before_fork() -> None:
    _spawning.acquire()


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # this module was imported in the middle of the fork
        _spawning.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
