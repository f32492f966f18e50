"""The heartbeat: who flushes, what it is doing, how far it is, and what is wrong. The flusher writes it, all read it.

One file, overwritten in place, so that a full disk does not stop it and a look costs one small read::

    crc32 u32 | length u32 | beat (msgpack)          in the first 16 KiB
    crc32 u32 | length u32 | progress (msgpack)      from there on

A look needs only the beat. Its fields are written in their order, without names, so that reading it costs little. Who
counts or waits needs the progress: how far the queue is settled, and the last refusals. A reader that meets a part that
is half written reads again. Moments are seconds since boot, which all processes of one boot can compare; those that are
shown to people are seconds since the epoch, and say so.

It is one file, because the fields of these values are the layout on disk.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from zlib import crc32

import msgpack

from lotus_durable.clock import boot_id, since_boot
from lotus_durable.descriptors import place_of
from lotus_durable.disk import DiskErrorsSuppressed
from lotus_durable.values import NamedTuple

from .directory import QueueDirectory
from .files import FILE_MODE, FolderPlace, opened_to_read, write_rest
from .stats import FlusherKind, FlusherState, QueueStats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from .reader import Position

    _Value = TypeVar("_Value", bound=NamedTuple)

_HEAD = struct.Struct("<II")
_BEAT_SIZE = 16 * 1024
"""The longest beat with one notice, and mostly with all of them."""
_GLANCE_SIZE = 4096
"""What most beats fit into: one read."""
_RESERVED = 64 * 1024
"""Bytes allocated at once: a full disk must not stop the heartbeat, and it mostly fits."""
_LONGEST_PROGRESS = 64 * 1024 * 1024
_ATTEMPTS = 5
_NAMES = "surrogateescape"
"""How text is encoded: it may name a file, and a name may be any bytes."""
_LONGEST_TEXT = 400
"""Characters of one text."""


class Notice(NamedTuple):
    """Something that happened once, to be reported in a process that tracks."""

    serial: int
    """Higher than that of all notices before it, also of flushers before this one."""
    kind: str
    """The name of the error of ours that says it."""
    text: str
    events: Sequence[Mapping[str, str]] = ()
    """The events it is about, some of their fields."""


class Refusal(NamedTuple):
    """An event that was parked or became a dead letter lately."""

    idempotency_id: str
    reason: str
    is_final: bool


class Progress(NamedTuple):
    """How far the queue is settled: what the books say, for those who count and wait."""

    counts: QueueStats = QueueStats()
    """What is settled; what is pending are the events in ``queue.db``, the journal's are not counted here."""
    cursor: Mapping[str, Position] = MappingProxyType({})
    """For each segment that still lies there, by the name its writer gave it, up to where it is settled."""
    refusals: Sequence[Refusal] = ()
    """The last ones."""


class Program(NamedTuple):
    """A program that flushes, or asks to: what decides who makes way for whom; see :mod:`lotus_durable.flusher`."""

    version: str
    package: str
    """The path of the package's folder."""
    settings: bytes
    """What stands for host, proxies and server settings."""
    key: bytes
    """The fingerprint of the API key."""
    surroundings: bytes
    """What stands for network namespace, cgroup and proxies: all that may decide whether the server can be reached."""
    began: float
    """When the program that started it was started; seconds since boot."""


class Beat(NamedTuple):
    """What a look needs."""

    pid: int
    pid_namespace: int
    start_time: int
    """Of the process, in clock ticks since boot: with the pid it names one process for ever."""
    uid: int
    hostname: str
    boot: str
    kind: FlusherKind
    program: Program
    beats: int
    """How many there were; the same count for ten seconds means that it hangs."""
    at: float
    state: FlusherState
    reason: str | None = None
    """Why it is retrying or blocked."""
    since: float = 0.0
    """When it came into this state; seconds since boot."""
    in_flight: float | None = None
    """When the request in flight was begun."""
    trouble_since: float | None = None
    """Since when events wait that are not delivered."""
    key_refused: bool = False
    """It is blocked because the server refuses its API key."""
    unreachable_since: float | None = None
    """Since when no connection could be made."""
    waits_until: float | None = None
    """Until when it waits before it tries again; seconds since the epoch."""
    last_delivery: float | None = None
    """Seconds since the epoch."""
    asked: int = 0
    """How many bytes of the requests' file were there when the last pass began that is done."""
    answer: str | None = None
    """Why not everything asked for was tried, if so."""
    notices: Sequence[Notice] = ()
    unsettled: bytes = b""
    """The ids that were sent to a server of 2022 and are not settled, as ``delivery/unsettled.py`` has them."""
    foreign_keys: bytes = b""
    """Fingerprints, one after the other, of API keys that are another organisation's, as the server says."""
    rate: float = 0.0
    """Events that were delivered in a second, lately."""
    last_error: str | None = None
    """Why delivery was in trouble last; it may be over."""
    last_error_at: float | None = None
    """Seconds since the epoch."""
    caught_up_at: float | None = None
    """What was accepted before that is settled, all of it; seconds since boot."""

    def age(self) -> float:
        """Return seconds since it was written; infinity for one of before the last boot."""
        return since_boot() - self.at if self.boot == boot_id() else float("inf")

    def is_over(self) -> bool:
        """Whether its writer said that it ends."""
        return self.state == "ended"


class HeartbeatFile:
    """The writer's side; for one process."""

    def __init__(self, directory: QueueDirectory) -> None:
        self.directory = directory
        self._folder = FolderPlace(directory.root)
        self._place: tuple[int, int] | None = None
        self._descriptor = -1
        self._written: Progress | None = None  # in this file

    def write(self, beat: Beat | None, progress: Progress | None) -> None:
        """Write the beat, and the progress when it is not the one that stands there.

        Args:
            beat: of this process; None for a copy of a queue, which nobody flushes.
            progress: how far the queue is settled; None where that is not known.

        Raises:
            OSError: the disk refuses, or the directory is gone, or another lies there: that has a heartbeat of its own.
        """
        self._open()
        if beat is not None:
            os.pwrite(self._descriptor, _framed_beat(beat), 0)
        if progress is not None and progress is not self._written:
            framed = _framed([progress.counts[:_COUNTED], *progress[1:]])
            # At first what makes the file longer: where the disk has no room for that, the former one stays whole.
            there = max(0, os.fstat(self._descriptor).st_size - _BEAT_SIZE)
            write_rest(self._descriptor, framed, _BEAT_SIZE, there)
            write_rest(self._descriptor, framed, _BEAT_SIZE)
            self._written = progress

    def close(self) -> None:
        """Close the file; it stays for who counts."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> None:
        """Open the file, again if somebody removed or replaced it."""
        path = self.directory.heartbeat
        if self._descriptor >= 0:
            place = place_of(path)
            if place == self._place:
                return
            self.close()
            if place is None:
                self._folder.outlast_removal()
        self._folder.check()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        if os.fstat(descriptor).st_size < _RESERVED and hasattr(os, "posix_fallocate"):
            # No room now, or a file system that cannot: it is written all the same while that goes.
            with contextlib.suppress(OSError):
                os.posix_fallocate(descriptor, 0, _RESERVED)
        self._descriptor, self._place = descriptor, place_of(descriptor)
        self._written = None


def read_beat(directory: QueueDirectory) -> Beat | None:
    """Return the last beat; None when there was none (or what is there cannot be read)."""
    with DiskErrorsSuppressed(), opened_to_read(directory.heartbeat) as descriptor:
        return beat_in(descriptor)
    return None


def beat_in(descriptor: int) -> Beat | None:
    """Do so where the heartbeat is open.

    Raises:
        OSError: it cannot be read.
    """
    try:
        plain = _read(descriptor, 0, _BEAT_SIZE)
        return None if plain is None else _beat_of(plain)
    except (TypeError, LookupError, ValueError):
        return None


def read_progress(directory: QueueDirectory) -> Progress:
    """Return how far the last flusher was; nothing is settled when there was none (or what is there is no progress)."""
    with contextlib.suppress(TypeError, LookupError, ValueError, AttributeError), DiskErrorsSuppressed():
        with opened_to_read(directory.heartbeat) as descriptor:
            counts, cursor, refusals = _read(descriptor, _BEAT_SIZE, _LONGEST_PROGRESS)[:3]
        return Progress(
            QueueStats(*counts[:_COUNTED]),
            {name: (offset, sequence) for name, (offset, sequence) in cursor.items()},
            [_made(Refusal, each) for each in refusals],
        )
    return Progress()


def shortened(text: str) -> str:
    """Return a text that fits into a beat."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _framed(plain: object) -> bytes:
    content: bytes = msgpack.packb(plain, unicode_errors=_NAMES)
    return _HEAD.pack(crc32(content), len(content)) + content


def _read(descriptor: int, offset: int, most: int) -> Any:  # noqa: ANN401  # msgpack's
    for _ in range(_ATTEMPTS):
        data = os.pread(descriptor, _GLANCE_SIZE, offset)
        if len(data) < _HEAD.size:
            return None
        checksum, length = _HEAD.unpack_from(data)
        if not 0 < length <= most:
            continue
        if len(data) < _HEAD.size + length:
            data = os.pread(descriptor, _HEAD.size + length, offset)
        content = data[_HEAD.size : _HEAD.size + length]
        if crc32(content) == checksum:
            return msgpack.unpackb(content, strict_map_key=False, unicode_errors=_NAMES)
    return None


def _framed_beat(beat: Beat) -> bytes:
    """Return a beat that ends before the progress begins: the oldest notices leave first, reported long ago."""
    while len(framed := _framed(beat)) > _BEAT_SIZE and beat.notices:
        beat = beat._replace(notices=beat.notices[1:])
    return framed


def _beat_of(plain: list[Any]) -> Beat:
    plain[_PROGRAM] = _made(Program, plain[_PROGRAM])
    if plain[_NOTICES:]:
        plain[_NOTICES] = [_made(Notice, each) for each in plain[_NOTICES]]
    return _made(Beat, plain)


_COUNTED = QueueStats._fields.index("in_memory")
"""The seven counts; the rest of it is found by whoever asks."""
_PROGRAM, _NOTICES = Beat._fields.index("program"), Beat._fields.index("notices")


def _made(kind: type[_Value], values: list[Any]) -> _Value:
    """Return a value of which another version may say more, or less: fields are only ever added, at the end.

    Raises:
        KeyError: it says too little.
    """
    fields = kind._fields
    if len(values) != len(fields):
        missing = fields[len(values) :]
        values = [*values[: len(fields)], *(kind._field_defaults[name] for name in missing)]
    return kind._make(values)
