"""The state file: how far the journal is settled, and what became of the events. Its replacement is the commit point.

A state is one line of JSON with a CRC-32 of its own, and the leader alone writes it. There are three places for it, and
the highest generation counts:

- ``state`` is replaced by :func:`~.directory.write_atomically`, synced. Whatever adds rows, or deletes rows or
  segments, is committed there.
- ``state.recent`` has two slots of a fixed size that are overwritten in turn, so that one of them is always whole. A
  commit that only moves the cursor over delivered events goes there and is not synced: a busy leader does not pay two
  syncs for each batch, SIGKILL cannot undo it, and a power cut can at most make it send again what the server
  already knows. Its blocks are allocated when it is made, so it takes a commit even when the disk is full: there it
  is synced and stands in for ``state``, or a full disk could never be emptied by delivering. Until ``state`` takes one
  again, every commit is durable: two that are not would overwrite both slots with what a power cut may tear.

Everything that takes part in a settlement is either made valid by it (rows of the store above the high-water marks do
not count until it says so) or done after it (rows it lists for removal, segments it lists as retired). A crash at any
instruction therefore leaves the state of before or the state of after, and :mod:`.recovery` finishes the rest.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from lotus_durable.errors import QueueDamaged

from .directory import FILE_MODE, QueueDirectory, write_atomically
from .reader import Position

VERSION = 1

_CHECKSUM_SIZE = 8

_SLOT_SIZE = 32 * 1024
"""Bytes; enough for the cursors of some 400 segments. A larger state is always committed durably."""


class NewerState(QueueDamaged):
    """A newer version of this program committed the state; it must not be touched."""


@dataclass(frozen=True, slots=True)
class StoreMarks:
    """Which rows of one table of the store count."""

    high: int = 0
    """Rows with a larger id are of a settlement that was never committed."""
    removing: tuple[int, ...] = ()
    """Rows that no longer count and are about to be deleted."""
    rows: int = 0
    """How many rows count."""


@dataclass(frozen=True, slots=True)
class State:
    """One committed state of the queue."""

    generation: int = 0
    cursor: Mapping[str, Position] = field(default_factory=dict)
    """Segments of which something is settled, and up to where."""
    retired: tuple[str, ...] = ()
    """Segments that are settled to the end, about to be deleted."""
    accepted: int = 0
    """Events in segments that are retired."""
    delivered: int = 0
    discarded: int = 0
    parked: StoreMarks = StoreMarks()
    dead: StoreMarks = StoreMarks()


def encode_state(state: State) -> bytes:
    """Return the bytes of the state file."""
    fields = asdict(state)
    text = json.dumps({"version": VERSION, **fields}, separators=(",", ":"))
    return f"{crc32(text.encode()):08x} {text}\n".encode()


def decode_state(data: bytes) -> State:
    """Return the state in ``data``.

    Raises:
        QueueDamaged: the checksum does not hold.
        NewerState: (a QueueDamaged) it is whole, and a newer version wrote it.
    """
    checksum, _, text = data.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % crc32(text):
        raise QueueDamaged("the state file is damaged: its checksum does not hold")
    fields = json.loads(text)
    if fields.pop("version") != VERSION:
        raise NewerState("the state file is of a newer version of this program; nothing was changed")
    return State(
        **{
            **fields,
            "cursor": {name: (offset, sequence) for name, (offset, sequence) in fields["cursor"].items()},
            "retired": tuple(fields["retired"]),
            "parked": _decode_marks(fields["parked"]),
            "dead": _decode_marks(fields["dead"]),
        }
    )


def _decode_marks(fields: dict[str, Any]) -> StoreMarks:
    return StoreMarks(fields["high"], tuple(fields["removing"]), fields["rows"])


def load_state(directory: QueueDirectory) -> State:
    """Return the committed state; a fresh one when nothing was ever committed.

    Raises:
        QueueDamaged: see :func:`decode_state`.
        OSError: the disk refuses.
    """
    # In this order: what is replaced between the two reads is then seen in its newer place.
    recent = _slots(directory)
    durable = _read(directory.state)
    states = [decode_state(durable) if durable is not None else State(), *recent]
    return max(states, key=lambda state: state.generation)


def newest_recent_generation(directory: QueueDirectory) -> int:
    """Return the highest generation in ``state.recent``, 0 when there is none: a new ``state`` must be above it.

    Raises:
        OSError: the disk refuses.
    """
    return max((state.generation for state in _slots(directory)), default=0)


def _slots(directory: QueueDirectory) -> list[State]:
    recent = _read(directory.recent_state) or b""
    states = []
    for start in (0, _SLOT_SIZE):
        line, newline, _ = recent[start : start + _SLOT_SIZE].partition(b"\n")
        if newline and line:
            try:
                states.append(decode_state(line))
            except NewerState:
                raise
            except QueueDamaged:
                # Torn: it was being written when its writer, or the power, went. The others stand then.
                continue
    return states


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def read_signature(directory: QueueDirectory) -> bytes:
    """Return the checksums of what is in the three places: they tell a commit that somebody else made."""
    return _read_start(directory.state, 0) + _read_start(directory.recent_state, 0, _SLOT_SIZE)


def _read_start(path: Path, *offsets: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"-"
    try:
        return b"".join(os.pread(descriptor, _CHECKSUM_SIZE, offset) for offset in offsets)
    finally:
        os.close(descriptor)


def save_state(directory: QueueDirectory, state: State, *, durable: bool) -> bool:
    """Commit ``state``: against SIGKILL, or (``durable``) against a power cut too.

    Returns:
        Whether ``state`` itself was replaced. If not, and it was to be durable, the commit stands in a slot of
        ``state.recent``, and the next ones must be durable too.

    Raises:
        OSError: the disk refuses. The former state stands, unless only the sync of the directory failed.
    """
    data = encode_state(state)
    fits = len(data) <= _SLOT_SIZE
    if not durable and fits:
        _overwrite_slot(directory.recent_state, data, state.generation, sync=False)
        return False
    try:
        write_atomically(directory.state, data)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not fits:
            raise
        _overwrite_slot(directory.recent_state, data, state.generation, sync=True)
        return False
    return True


def reserve_slots(directory: QueueDirectory) -> None:
    """Allocate the blocks of ``state.recent``, whatever is in it.

    Raises:
        OSError: the disk refuses.
    """
    os.close(_open_slots(directory.recent_state))


def _overwrite_slot(path: Path, data: bytes, generation: int, *, sync: bool) -> None:
    descriptor = _open_slots(path)
    try:
        if os.pwrite(descriptor, data, generation % 2 * _SLOT_SIZE) != len(data):
            raise OSError(errno.ENOSPC, "short write of the state", str(path))
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_slots(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        if os.fstat(descriptor).st_size < 2 * _SLOT_SIZE:
            os.posix_fallocate(descriptor, 0, 2 * _SLOT_SIZE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
