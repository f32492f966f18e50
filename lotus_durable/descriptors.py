"""Which numbers our file descriptors have, and the space for them in the kernel's table.

A program that closes a descriptor twice closes whatever has that number by then. Ours have numbers from :data:`FIRST`
on, which no opened file gets while lower ones are free. They end at :data:`LAST`: ``select()`` takes none from 1024 on,
and a program that opens many files needs some.
"""

from __future__ import annotations

import fcntl
import os

from lotus_durable.disk import DiskErrorsSuppressed

FIRST, LAST = 512, 1000
_LAST_STANDARD = 2


def make_room() -> None:
    """Have the kernel's table of this process's descriptors reach as far as ours.

    The table grows when the first number of that size is taken. With several threads that waits until no processor uses
    the old table: 12 to 16 ms, which the first event would pay. With one thread it takes 10 to 40 µs: so it is done at
    import, and in a child after a fork, which makes the table small again.
    """
    with DiskErrorsSuppressed():
        descriptor = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
        moved = duplicate(descriptor, FIRST)
        os.close(descriptor)
        if moved is not None:
            os.close(moved)


def duplicate(descriptor: int, least: int) -> int | None:
    """Return a second descriptor, ``least`` or more; None where the limit of open files is lower, or reached."""
    with DiskErrorsSuppressed():
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
    return None


def moved_up(descriptor: int) -> int:
    """Return the descriptor under a number of ours; under the one it has where there is none."""
    moved = duplicate(descriptor, FIRST)
    if moved is not None and moved > LAST:
        os.close(moved)
        moved = None
    if moved is None and descriptor <= _LAST_STANDARD:
        moved = duplicate(descriptor, _LAST_STANDARD + 1)
    if moved is None:
        return descriptor
    os.close(descriptor)
    return moved


def open_numbers() -> set[int]:
    """Return the descriptors of this process, and perhaps one that was open while it looked."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with DiskErrorsSuppressed():
            return {int(name) for name in os.listdir(folder)}
    return set(range(256))


def place_of(file: str | int) -> tuple[int, int] | None:
    """Return device and inode of what a path or a descriptor leads to; None where it leads nowhere."""
    with DiskErrorsSuppressed():
        status = os.stat(file)
        return status.st_dev, status.st_ino
    return None
