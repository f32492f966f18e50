"""What other processes ask of the flusher: one file to which each request appends a record of 16 bytes.

A request's number is the offset at which its record ends. The heartbeat says up to which number all was carried out. So
no request has to be removed or answered by itself, and it outlives the process that asked and the flusher. If the file
is removed (by a flusher because it is long, or by somebody) the numbers go on where they were: the new file begins with
a hole.

    kind 1 byte | 15 bytes: the fingerprint of the API key that it is about, or zeros

=====  ========================================================================
``d``  drain
``m``  make way: another program flushes from now on
``p``  pause: somebody changes what is in the books
``s``  stop
``o``  the server says that this key is another organisation's than the events
=====  ========================================================================
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from lotus_durable.disk import DiskErrorsSuppressed
from lotus_durable.values import NamedTuple

from .directory import QueueDirectory
from .files import FILE_MODE, opened_to_read
from .heartbeat import read_beat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

RequestKind: TypeAlias = 'Literal["drain", "make way", "pause", "stop", "other organisation"]'

_KINDS: tuple[RequestKind, ...] = ("drain", "make way", "pause", "stop", "other organisation")
_BY_CODE = {kind[:1].encode(): kind for kind in _KINDS}
_SIZE = 16
_ENOUGH = 1 << 20
"""Bytes after which a flusher that begins starts a new file."""
_BLOCK = 512
_MOST_READ = 1 << 22
"""Bytes at once, a multiple of a record: whatever somebody makes of the file, it is not all taken into memory."""
_UNANSWERED = 1 << 16
"""Bytes: more than what was asked for and not carried out yet when the file was removed."""


class Request(NamedTuple):
    """One request."""

    number: int
    kind: RequestKind
    about: bytes = bytes(_SIZE - 1)


def ask(directory: QueueDirectory, kind: RequestKind, about: bytes = b"") -> int:
    """Append a request and return its number.

    Raises:
        OSError: the disk refuses, or there is no queue.
    """
    record = kind[:1].encode() + about[: _SIZE - 1].ljust(_SIZE - 1, b"\0")
    number = _append(directory, record)
    beat = read_beat(directory)
    if beat is not None and number <= beat.asked:
        with DiskErrorsSuppressed():  # somebody removed it again
            if newest(directory) <= beat.asked:
                os.truncate(directory.requests, beat.asked + _UNANSWERED)
        number = _append(directory, record)
    return number


def _append(directory: QueueDirectory, record: bytes) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(directory.requests, flags, FILE_MODE)
    try:
        written = os.write(descriptor, record)
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        os.close(descriptor)
    # A short write (a full disk) leaves half a record: the numbers of later ones are still right, as ends are.
    return end if written == _SIZE else end - written + _SIZE


def newest(directory: QueueDirectory) -> int:
    """Return the number of the last request; 0 when there is none (or it cannot be told)."""
    with DiskErrorsSuppressed():
        return os.stat(directory.requests).st_size
    return 0


def since(directory: QueueDirectory, number: int) -> Iterator[Request]:
    """Give the requests after ``number``, oldest first; nothing where the file cannot be read."""
    data = b""
    with DiskErrorsSuppressed(), opened_to_read(directory.requests) as descriptor:
        data = os.pread(descriptor, _MOST_READ, number)  # the rest, if there is more, the next time
    for start in range(0, len(data), _SIZE):
        kind = _BY_CODE.get(data[start : start + 1])
        if kind is not None:
            yield Request(number + min(start + _SIZE, len(data)), kind, data[start + 1 : start + _SIZE])


def begin_anew(directory: QueueDirectory) -> None:
    """Start a new file where the old one is long; for the flusher that begins, and carries out all that is in it."""
    with DiskErrorsSuppressed():
        if os.stat(directory.requests).st_blocks * _BLOCK > _ENOUGH:
            os.unlink(directory.requests)
