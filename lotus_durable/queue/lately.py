"""The ids of events that were delivered lately: the last :data:`MOST`, in a file of their own, ``delivered``.

The server of 2022 must not get an id again before it has inserted what came with it, which it does when 1,000 events
have come together: after a minute where many are sent, and after any time where few are. So many more are known than
come in a minute. The file is::

    magic | place u64: where the next key is written | keys of 16 bytes, written over in turn, the oldest next

The key of an id is the 16 bytes of a UUID itself, and of any other id a digest that has no second one in practice: an
id that was taken for another would be an event that is lost. So would one that another server has: over each key lies a
digest of the server's address. What lies in the file is known, and nothing else.

They are no part of the books, for nothing there depends on them. They are written *before* a settlement is committed:
after a kill the file may be ahead of the books, never behind, and an id that is there too early was delivered all the
same. A power cut may take the last ones, as it may the last settlements. A disk that is full, or refuses, stops no
settlement for them: it only makes fewer of them known.

In memory is where to look for an id: three bytes of each, its *mark*, in buckets small enough for the processor's
cache. Marks are made of what lies in the file when somebody asks; those of ids that are no longer there do no harm.
Bucket and mark are of Python's hash: ids that somebody counts up are as far apart as others. What is done for each of
500 ids is done by C functions: in a loop it would take longer than what SQLite does for all of them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import stat
from binascii import unhexlify
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter
from struct import Struct, pack, unpack

from lotus_durable.clock import monotonic
from lotus_durable.descriptors import place_of
from lotus_durable.errors import QueueDamaged

from .files import FILE_MODE, TEMPORARY, FolderPlace, sync_data, sync_path, write_rest, write_synced
from .protocol import Report
from .reserve import is_full

logger: logging.Logger = logging.getLogger("lotus_durable")

MOST = 200_000
KEY = 16
"""Bytes."""

_HEADER = Struct("<8sQ")
_MAGIC = b"LOTUSID1"
_SHARE = 16
"""Of the free disk, the part that the file may take: it grows while it takes less."""
_RETRY_INTERVAL = 60.0
"""Seconds until the next try of a file that could not be written back."""
_FIRST_ROOM = _AT_ONCE = 4096 * KEY

_BUCKETS = 4_096  # with MOST ids some 150 bytes each
_LOW = bytes(range(_BUCKETS // 256)) * (256 * 256 // _BUCKETS)
_ONE = Struct(f"{KEY}s")
_MARK = 3
_MARKS = Struct(f"2x{_MARK}s3x")
_FIRST = itemgetter(0)
_BETWEEN = "\0"  # which no id has
_SHAPE = b"00000000-0000-0000-0000-000000000000\0"
_SHAPES = bytes.maketrans(b"123456789abcdef", b"0" * 15)


class DeliveredLately:
    """The file, and where to look in it; for the one flusher.

    Args:
        path: of the file. It is made here, with room for the first ids: for when the disk is full.
        report: told when something else lies there. Then no id is known.
        host: returns to which server ids are delivered now.
    """

    def __init__(self, path: str, report: Report, host: Callable[[], str | None] = lambda: None) -> None:
        self._path = path
        self._folder = FolderPlace(os.path.dirname(path))
        self._host = host
        self._report = report
        self._descriptor = -1
        self._size = 0  # of the keys in the file, in bytes
        self._place = 0  # of the next, likewise
        self._behind = 0  # bytes of keys before that place which have no mark yet
        self._last = b""
        self._refused_at = -math.inf
        self._is_synced = True
        self._buckets: list[bytearray] = []
        self._marked = 0
        try:
            self._open()
        except OSError as error:
            if is_full(error):
                logger.debug("cannot make room for what is delivered: %s", error)
            else:
                report(QueueDamaged(f"{path} is left alone ({error}): what was delivered lately is not known"))

    def add(self, ids: Sequence[str]) -> None:
        """Write these; raises nothing. Those that were added last, again, are those of a settlement that failed."""
        if not ids:
            return
        keys = keys_of(ids, self._host())
        if keys == self._last:
            return
        try:
            if self._descriptor < 0:
                self._open()
            left = memoryview(keys)
            while left:
                left = left[self._write(left) :]
            os.pwrite(self._descriptor, _HEADER.pack(_MAGIC, self._place // KEY), 0)
            self._last = keys
        except OSError as error:
            self._place, self._behind = 0, self._size
            logger.debug("cannot note what was delivered: %s", error)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return those of ``ids`` that were delivered lately; none while they cannot be read, which is told."""
        try:
            return self._known(ids)
        except OSError as error:
            self._report(QueueDamaged(f"{self._path} cannot be read ({error}): what was delivered lately is not known"))
            return set()

    def _known(self, ids: Sequence[str]) -> set[str]:
        if not self._size:
            return set()
        self._catch_up()
        keys = keys_of(ids, self._host())
        found = [*map(bytearray.find, *self._places_of(keys))]
        if max(found, default=-1) < 0:  # as nearly always
            return set()
        by_key = {
            keys[number * KEY : (number + 1) * KEY]: id_
            for number, (id_, place) in enumerate(zip(ids, found, strict=True))
            if place >= 0
        }
        known: set[bytes] = set()
        for piece in self._pieces(self._size):
            known.update(by_key.keys() & {*map(_FIRST, _ONE.iter_unpack(piece))})
        return {by_key[key] for key in known}

    def sync(self) -> None:
        """Make what was added survive a power cut.

        Raises:
            OSError: the disk refuses.
        """
        if not self._is_synced:
            sync_data(self._descriptor)
            self._is_synced = True

    def keep_in_place(self) -> None:
        """See that the file is where the path leads; else write it there once more.

        Where the disk refuses that, or something else lies there, that is told and tried again later: what was
        delivered is known as long as the file is open, and nothing waits for it.

        Raises:
            FileNotFoundError: the whole folder is gone.
        """
        if self._descriptor < 0 or place_of(self._path) == place_of(self._descriptor):
            return
        if not 0 <= monotonic() - self._refused_at < _RETRY_INTERVAL:
            self._folder.outlast_removal()
            try:
                self._write_back()
            except OSError as error:
                self._refused_at = monotonic()
                self._report(QueueDamaged(f"{self._path} was removed or replaced, and is not written back ({error})"))

    def _write_back(self) -> None:
        new = f"{self._path}{TEMPORARY}"
        old = self._descriptor
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)  # whatever it is that lies there: a kill's, or a pipe, which would be waited for
            write_synced(new, os.pread(old, _HEADER.size + self._size, 0), os.O_EXCL)
            os.rename(new, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        self._open()
        os.close(old)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, FILE_MODE)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "no regular file")
            magic, place = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0).ljust(_HEADER.size, b"\0"))
            if magic != _MAGIC:  # it is new, or damaged
                os.ftruncate(descriptor, 0)
                write_rest(descriptor, _HEADER.pack(_MAGIC, 0) + bytes(_FIRST_ROOM))
                sync_path(self._folder.path)
            size = os.fstat(descriptor).st_size - _HEADER.size
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._size = self._behind = max(0, min(size, MOST * KEY) // KEY * KEY)
        self._place = min(place * KEY, self._size)

    def _write(self, keys: memoryview) -> int:
        """Write what has room before the beginning's turn comes again; return how much that was."""
        end = self._size
        if self._place + len(keys) > end and self._may_grow(len(keys)):
            end = MOST * KEY
        if self._place >= end:
            self._place = 0
        self._is_synced = False
        written = os.pwrite(self._descriptor, keys[: end - self._place], _HEADER.size + self._place) // KEY * KEY
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._place += written
        self._size = max(self._size, self._place)
        self._behind = min(self._behind + written, self._size)
        return written

    def _may_grow(self, more: int) -> bool:
        disk = os.fstatvfs(self._descriptor)
        return self._size < MOST * KEY and _SHARE * (self._size + more) <= disk.f_bavail * disk.f_frsize

    def _catch_up(self) -> None:
        """Note where to look for what was written since the last time; begin anew when too much is noted."""
        if not self._buckets or self._marked > 2 * MOST:
            self._buckets = [bytearray() for _ in range(_BUCKETS)]
            self._marked, self._behind = 0, self._size
        for piece in self._pieces(self._behind):
            deque(map(bytearray.extend, *self._places_of(piece)), maxlen=0)
            self._marked += len(piece) // KEY
        self._behind = 0

    def _pieces(self, left: int) -> Iterator[bytes]:
        """Give the keys of the last so many bytes; all of them from the beginning of the file."""
        start = self._place - left if left < self._size else 0
        while left > 0:
            start %= self._size
            piece = os.pread(self._descriptor, min(left, _AT_ONCE, self._size - start), _HEADER.size + start)
            piece = piece[: len(piece) // KEY * KEY]
            if not piece:
                return  # somebody has cut it off
            yield piece
            start += len(piece)
            left -= len(piece)

    def _places_of(self, keys: bytes) -> tuple[list[bytearray], list[bytes]]:
        """Return the bucket of each key, and its mark."""
        count = len(keys) // KEY
        hashes = pack(f"<{count}q", *map(hash, map(_FIRST, _ONE.iter_unpack(keys))))
        numbers = bytearray(2 * count)
        numbers[0::2] = hashes[0::8]
        numbers[1::2] = hashes[1::8].translate(_LOW)
        buckets = map(self._buckets.__getitem__, unpack(f"<{count}H", numbers))
        return [*buckets], [*map(_FIRST, _MARKS.iter_unpack(hashes))]


def keys_of(ids: Sequence[str], host: str | None = None) -> bytes:
    """Return the 16 bytes of each id of this server's; zeros, as a disk may have after a power cut, are of none."""
    plain = _of_uuids(ids) or b"".join(_of_uuids((each,)) or _digest(each) for each in ids)
    return (int.from_bytes(plain) ^ _over(host or "", len(ids))).to_bytes(len(plain))


@lru_cache(maxsize=2)
def _over(host: str, count: int) -> int:
    return int.from_bytes(_digest(host) * count)


def _of_uuids(ids: Sequence[str]) -> bytes:
    """Return the bytes of UUIDs; nothing where one of the ids is none."""
    encoded = _BETWEEN.join(ids).encode(errors="surrogatepass")
    if encoded.translate(_SHAPES) != (_SHAPE * len(ids))[:-1]:
        return b""
    return unhexlify(encoded.translate(None, b"-\0"))


def _digest(id_: str) -> bytes:
    return blake2b(id_.encode(errors="surrogatepass"), digest_size=KEY).digest()
