"""Telling a forked child from its parent: in 30 ns, also where the fork ran none of Python's hooks.

:data:`mark` is a byte of memory that the kernel sets to 0 in every child (MADV_WIPEONFORK). So before a process uses
what it may have inherited, it asks ``if not mark[0]``. A sandbox may accept every advice and follow none (gVisor). It
is recognised because it accepts one that does not exist. There, and outside Linux, the process id is compared instead.
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
    """Does the same with the process id: 200 ns, and wrong if a child has the same number in a namespace of its own."""

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
"""``mark[0]`` is 1 in the process that set it, and 0 in each of its children."""
mark[0] = 1

_forks = 0
_owners: list[ref[Inherits]] = []


def this_process() -> tuple[int, int]:
    """Return a value that differs between parent and child, even if both have the same process id (namespaces)."""
    return _forks, os.getpid()


def register(owner: Inherits) -> None:
    """Have ``owner.abandon()`` called in each forked child, for as long as there is an owner."""
    _owners.append(ref(owner, _owners.remove))


def begin_process() -> None:
    """Drop what was inherited: called by the fork hook, or, if a fork ran none, by whoever finds the mark at 0."""
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
