"""Telling a forked child from its parent: at 30 ns a question, also where the fork ran none of Python's hooks.

:data:`mark` is a byte of this process's own memory that the kernel sets to 0 in every child (MADV_WIPEONFORK), so a
process asks ``if not mark[0]`` before it uses what it may have inherited. A sandbox that takes any advice and follows
none (gVisor does) is known by its taking one that does not exist; there, and outside Linux, the process id is compared.
"""

from __future__ import annotations

import mmap
import os
from _weakref import ref  # weakref itself imports more

from lotus_durable import descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Inherits(Protocol):
        """Something of one process that must not be used in another."""

        def abandon(self) -> None:
            """Drop, in a forked child, what is its parent's; idempotent in the process that owns it."""

    class _Mark(Protocol):
        def __getitem__(self, index: int, /) -> int: ...
        def __setitem__(self, index: int, value: int, /) -> None: ...


_WIPE_ON_FORK = 18
_NO_ADVICE = -1


class _ProcessId:
    """The same question, answered by the process id: 200 ns, and wrong in a namespace where a child has our number."""

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, _: int) -> int:
        return os.getpid() == self._pid

    def __setitem__(self, _: int, value: int) -> None:
        self._pid = os.getpid() if value else 0


def _make_mark() -> _Mark:
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except (OSError, AttributeError, ValueError):
        return _ProcessId()
    try:
        page.madvise(_NO_ADVICE)
    except OSError:
        return page
    return _ProcessId()


mark: _Mark = _make_mark()
"""``mark[0]`` is 1 in the process that began to use what it guards, and 0 in each of its children."""
mark[0] = 1

_forks = 0
_owners: list[ref[Inherits]] = []


def this_process() -> tuple[int, int]:
    """Return what no forked child shares with its parent, also where it has its number, in a namespace of its own."""
    return _forks, os.getpid()


def register(owner: Inherits) -> None:
    """Have ``owner.abandon()`` called in each forked child, for as long as there is an owner."""
    _owners.append(ref(owner, _owners.remove))


def begin_process() -> None:
    """Drop what was inherited: by the hook of a fork, or by whoever finds the mark wiped after a fork without hooks."""
    global _forks  # noqa: PLW0603  # of a process there is one
    if mark[0]:
        return  # a hook of the application's that runs before ours has tracked already
    _forks += 1
    for reference in tuple(_owners):  # one that is dropped meanwhile would make the next one be left out
        owner = reference()
        if owner is not None:
            owner.abandon()
    descriptors.make_room()
    mark[0] = 1


descriptors.make_room()
os.register_at_fork(after_in_child=begin_process)
