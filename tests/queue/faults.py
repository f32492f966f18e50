"""Faults: system calls that refuse, processes that die at a named step, small disks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

DIED = 9
STRIDE = 1 if os.environ.get("LOTUS_TEST_EVERY_STEP") else 4
"""Of the steps at which a process may die, how far the next one that is tried is: all take a minute for each test."""

_FILE_CALLS = {"open", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fallocate", "flock"}
_NAME_CALLS = {"replace", "rename", "unlink", "link", "mkdir", "mknod"}
_SQLITE_CALLS = {"execute", "executemany", "commit", "__exit__"}
_STEPS = _FILE_CALLS | _NAME_CALLS | _SQLITE_CALLS
"""Calls of C functions before which a process may die: those that change something on the disk."""


def path_of(target: Any) -> str:
    """Return the path of a descriptor or of a path-like argument."""
    if isinstance(target, int):
        try:
            return os.readlink(f"/proc/self/fd/{target}")
        except OSError:
            return ""
    return str(os.fspath(target))


Where = str | Callable[[str], bool]
"""A part of the path, or a test of it."""


class Refusal:
    """What an injected call does; counts how often it was asked."""

    def __init__(self, action: Callable[..., Any], real: Callable[..., Any], where: Where, times: int | None) -> None:
        self._action, self._real, self._where, self._left = action, real, where, times
        self.count = 0

    def _is_meant(self, path: str) -> bool:
        return self._where in path if isinstance(self._where, str) else self._where(path)

    def __call__(self, target: Any, *arguments: Any, **options: Any) -> Any:
        if self._left == 0 or not self._is_meant(path_of(target)):
            return self._real(target, *arguments, **options)
        if self._left is not None:
            self._left -= 1
        self.count += 1
        return self._action(target, *arguments, **options)


@contextmanager
def replaced(
    call: str, action: Callable[..., Any], *, where: Where = "", times: int | None = None
) -> Iterator[Refusal]:
    """Replace ``os.<call>`` (or ``fcntl.flock``) for files that ``where`` names, for the first ``times`` calls."""
    module = fcntl if call == "flock" else os
    refusal = Refusal(action, getattr(module, call), where, times)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, call, refusal)
        yield refusal


@contextmanager
def refusing(call: str, code: int, *, where: Where = "", times: int | None = None) -> Iterator[Refusal]:
    """Let ``os.<call>`` fail with an error number."""

    def refuse(target: Any, *_arguments: Any, **_options: Any) -> Any:
        raise OSError(code, os.strerror(code), path_of(target))

    with replaced(call, refuse, where=where, times=times) as refusal:
        yield refusal


@contextmanager
def writing_short(size: int, code: int = errno.ENOSPC, *, where: Where = ".seg") -> Iterator[Refusal]:
    """Let ``os.pwrite`` take only ``size`` bytes without an error, and refuse the rest: a tmpfs that fills up."""
    real = os.pwrite
    filled_to = -1

    def write(target: int, data: bytes, offset: int) -> int:
        nonlocal filled_to
        if offset == filled_to or not size:
            raise OSError(code, os.strerror(code), path_of(target))
        filled_to = offset + size
        return real(target, data[:size], offset)

    with replaced("pwrite", write, where=where) as refusal:
        yield refusal


@contextmanager
def full_disk(where: Where = "") -> Iterator[None]:
    """Refuse whatever takes up space: writes, and new files."""
    real = os.open

    def refuse(target: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT and not os.path.exists(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path_of(target))
        return real(target, flags, *arguments, **options)

    with ExitStack() as stack:
        for call in ("write", "pwrite"):
            stack.enter_context(refusing(call, errno.ENOSPC, where=where))
        stack.enter_context(replaced("open", refuse, where=where))
        yield


_children: set[int] = set()


def in_child(action: Callable[[], object]) -> int:
    """Run ``action`` in a forked child and return its process id; it exits 0, or 1 if the action raises."""
    pid = os.fork()
    _children.add(pid)
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:  # noqa: BLE001  # shown here, because the child must not return
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    return pid


def exit_status(pid: int) -> int:
    """Wait for a child; a negative number is the signal that killed it."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _children.discard(pid)
    return status


def kill_children() -> None:
    """End the children that a failed test has left."""
    while _children:
        pid = _children.pop()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def dies_at(step: int, action: Callable[[], object]) -> bool:
    """Run ``action`` in a child that exits at the ``step``-th step, without any clean-up; False if it ended first.

    Steps are the moments right before each call that changes something on the disk.
    """
    left = step

    def count(_frame: FrameType, event: str, function: Any) -> None:
        nonlocal left
        if event == "c_call" and getattr(function, "__name__", "") in _STEPS:
            if left == 0:
                os._exit(DIED)
            left -= 1

    def counted() -> None:
        sys.setprofile(count)
        action()
        sys.setprofile(None)

    status = exit_status(in_child(counted))
    assert status in (0, DIED)
    return status == DIED


@contextmanager
def small_disk(path: Path, size: str, *, inodes: int = 0) -> Iterator[Path]:
    """Mount a tmpfs of ``size``, with room for so many files (0: as many as there is memory for)."""
    path.mkdir()
    options = f"size={size},nr_inodes={inodes}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root and the right to mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def remount(path: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(path)], check=True)
