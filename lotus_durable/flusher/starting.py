"""What all processes note about starts, which are made one at a time, and about what was reported.

The file ``starting`` holds the last start, then the notes. It carries two locks; nobody ever waits for either.

- The lock of a start is held from before a flusher is started until it has its own lock; it is handed over through the
  shell. It shows to all that a flusher is on its way. It is ignored when the start is 10 s old.
- The lock of the notes is held for the instant in which the notes in the file are changed. Who does not get it leaves
  the change to its next look.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from zlib import crc32

import msgpack

from lotus_durable.clock import boot_id, since_boot
from lotus_durable.disk import DiskErrorsSuppressed
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.files import FILE_MODE, opened_to_read
from lotus_durable.values import NamedTuple

from . import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

START_LOCK = 0
_NOTES_LOCK = 1 << 20
_START = struct.Struct("<IdQ")
_NOTES_AT = 32
_HEAD = struct.Struct("<II")
_SIZE = 16 * 1024
"""Of a file that is longer no more is read."""
_IGNORED_AFTER = 10.0
"""Seconds after which a start that has not come to flush is given up."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_LONGEST_WORDS = 4096


class Seen(NamedTuple):
    """A beat that was seen, and is seen again."""

    pid: int
    start_time: int
    beats: int
    last: float
    """When it was seen last."""
    elapsed: float = 0.0
    """Seconds for which it was seen; of a gap between two looks only some, for then all of us may have been stopped."""
    killed_at: float | None = None
    """When its process was sent SIGKILL."""


class Start(NamedTuple):
    """The last start. It stands apart from the notes: who holds the lock of a start writes it."""

    began_at: float
    log_size: int
    """How long the flusher's log was then: what is behind it are its words."""


class Notes:
    """What the processes of one boot tell each other about starting and telling. Moments are seconds since boot."""

    boot: str = ""
    last_known: float = 0.0
    """When the last start began of which it is known what became of it."""
    failures: int = 0
    next_start: float = 0.0
    words: str = ""
    """The last words of the start that failed last."""
    has_flushed: bool = False
    """It failed when it had begun to flush."""
    seen: Seen | None = None
    nobody_since: float | None = None
    """Since when looks have found nobody who flushes."""
    reported_at: float = -1e9
    """When trouble was reported last."""
    reported_notices: int = 0
    """The serial of the last notice that was reported."""
    tried: dict[bytes, float]
    """When surroundings asked a flusher that reaches nobody to make way."""
    in_memory: dict[int, int]
    """By process number, how many events waited in memory when that told last that the disk takes none."""
    newest_version: str = ""
    """The newest version that tracks here."""
    newest_at: float = -1e9
    """When it looked last."""

    def __init__(self, **known: Any) -> None:  # noqa: ANN401  # what is noted, by the names above
        vars(self).update({"tried": {}, "in_memory": {}, **known})
        # Not noted, but found beside the notes.
        self.start: Start | None = None
        self.is_starting = False

    def start_to_note(self) -> Start | None:
        """Return the last start where nobody has noted what it came to."""
        return self.start if self.start is not None and self.last_known < self.start.began_at else None

    def ended(self) -> None:
        """Note that the last start is over and was no failure: somebody else flushes, say."""
        if self.start is not None:
            self.last_known = self.start.began_at

    def succeeded(self) -> None:
        """Note that a flusher came to flush."""
        self.failures, self.next_start, self.words = 0, 0.0, ""
        self.ended()

    def failed(self, words: str, *, has_flushed: bool = False) -> None:
        """Note that the last start came to nothing, or ended when it flushed already; and when the next one may be."""
        # Somebody may have killed it, or its container has ended: once it is replaced at once.
        is_forgiven = (has_flushed or not words) and not self.failures
        pause = 0.0 if is_forgiven else min(_FIRST_PAUSE * 2**self.failures, _LONGEST_PAUSE)
        self.next_start = since_boot() + pause
        self.failures += 1
        self.has_flushed = has_flushed
        self.words = words[-_LONGEST_WORDS:]
        self.ended()

    def failure(self) -> str:
        """Return what is told of the start that failed last."""
        words = self.words or "it said nothing"
        if self.has_flushed:
            return f"flushers end in the middle of their work (killed for want of memory?): {words}"
        return f"a flusher cannot be started: {words}"

    def as_plain(self) -> dict[str, Any]:
        """Return what is noted, as plain values."""
        return {name: getattr(self, name) for name in Notes.__annotations__}


class Starting:
    """The file ``starting`` of one queue, which is made where there is none (``makes``).

    Not by a flusher: its directory is being removed then.
    """

    def __init__(self, directory: QueueDirectory, *, makes: bool = True) -> None:
        self._directory = directory
        self._flags = os.O_RDWR | (os.O_CREAT if makes else 0)
        self._refused: tuple[bytes, Notes] | None = None
        """What the file held after it did not take a change of this process, and the notes with that change."""

    def read(self) -> Notes:
        """Return the notes, empty ones where there are none of this boot, with the last start."""
        with DiskErrorsSuppressed(), opened_to_read(self._directory.starting) as descriptor:
            return self._notes_in(descriptor)
        return self._notes_in(-1)

    def is_starting(self) -> bool:
        """Whether a flusher is on its way."""
        return self.read().is_starting

    @contextlib.contextmanager
    def changing(self, *, insist: bool = False) -> Iterator[Notes | None]:
        """Give the notes to be changed, and write them back; None where somebody else is at it.

        Where the disk refuses they are this process's alone until somebody can write them: it tells what is to be told,
        and a flusher that hangs is ended by it.

        Args:
            insist: also where somebody else is at it: one that is stopped in this very moment, the flusher itself even,
                would keep all others from noting that. At worst one of two changes is lost, to be made at another look.
        """
        descriptor, is_ours = -1, insist
        with DiskErrorsSuppressed():
            descriptor = self._open(self._flags)
            is_ours = locks.try_hold(descriptor, _NOTES_LOCK) or insist
        try:
            if descriptor >= 0 and not is_ours:
                yield None
                return
            notes = self._notes_in(descriptor) if descriptor >= 0 else self.read()
            before = _packed(notes)
            yield notes
            after = _packed(notes)
            if after != before or self._refused is not None:
                is_written = False
                with DiskErrorsSuppressed():
                    is_written = os.pwrite(descriptor, after, _NOTES_AT) == len(after)
                self._refused = None if is_written else (_found_in(descriptor)[0][_NOTES_AT:], notes)
        finally:
            if descriptor >= 0:
                with DiskErrorsSuppressed():
                    locks.let_go(descriptor, _NOTES_LOCK)  # a child that was forked in this moment has a copy
                os.close(descriptor)

    def begin(self) -> int | None:
        """Take the lock of a start, and return its descriptor, to be handed over; None where there is to be none now.

        Raises:
            OSError: the directory cannot be used.
        """
        descriptor = self._open(os.O_RDWR | os.O_CREAT)
        try:
            taken = locks.try_hold(descriptor, START_LOCK)
            if not taken and self.is_starting():
                os.close(descriptor)
                return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def note(self, descriptor: int, log_size: int) -> None:
        """Note that the start begins now, or goes on: it may take as long as another flusher's request in flight."""
        with DiskErrorsSuppressed():
            os.pwrite(descriptor, _START.pack(crc32(boot_id().encode()), since_boot(), log_size), 0)

    def _notes_in(self, descriptor: int) -> Notes:
        content, is_held = _found_in(descriptor)
        notes = _unpacked(content[_NOTES_AT:])
        if self._refused is not None and self._refused[0] == content[_NOTES_AT:]:
            notes = self._refused[1]
        notes.start = start = _start_in(content)
        notes.is_starting = is_held and (start is None or 0 <= since_boot() - start.began_at < _IGNORED_AFTER)
        return notes

    def _open(self, flags: int) -> int:
        return os.open(self._directory.starting, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, FILE_MODE)


def last_words(directory: QueueDirectory, offset: int) -> str:
    """Return the end of what was written to the flusher's log from ``offset`` on."""
    with DiskErrorsSuppressed(), opened_to_read(directory.log) as descriptor:
        size = os.fstat(descriptor).st_size
        start = max(offset if offset <= size else 0, size - _LONGEST_WORDS)
        return os.pread(descriptor, _LONGEST_WORDS, start).decode(errors="replace").strip()
    return ""


def _found_in(descriptor: int) -> tuple[bytes, bool]:
    """Return what the open file holds, and whether somebody has the lock of a start; where it is not open, neither."""
    with DiskErrorsSuppressed():
        return os.pread(descriptor, _SIZE, 0), locks.is_held_in(descriptor, START_LOCK)
    return b"", False


def _start_in(content: bytes) -> Start | None:
    """Return the last start of this boot; None when there was none."""
    if len(content) < _START.size:
        return None
    boot, began_at, log_size = _START.unpack_from(content)
    return Start(began_at, log_size) if boot == crc32(boot_id().encode()) else None


def _packed(notes: Notes) -> bytes:
    content: bytes = msgpack.packb(notes.as_plain())
    return _HEAD.pack(crc32(content), len(content)) + content


def _unpacked(data: bytes) -> Notes:
    boot = boot_id()
    with contextlib.suppress(ValueError, TypeError, struct.error, AttributeError):
        checksum, length = _HEAD.unpack_from(data)
        content = data[_HEAD.size : _HEAD.size + length]
        if crc32(content) == checksum:
            plain = msgpack.unpackb(content, strict_map_key=False)
            if plain.get("boot") == boot:
                known = {name: plain[name] for name in Notes.__annotations__ if name in plain}
                seen = known.get("seen")
                return Notes(**{**known, "seen": seen and Seen(*seen)})
    return Notes(boot=boot)
