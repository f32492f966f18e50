"""Counting what is in the queue, from any process, without reading the events."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

import msgpack

from lotus_durable.errors import QueueDamaged

from .cursor import State, load_state
from .directory import QueueDirectory
from .format import UnknownFormat
from .protocol import Census
from .reader import BEGINNING, Glance, Position, glance

_ATTEMPTS = 20


def take_census(directory: QueueDirectory) -> Census:
    """Count; the cost depends on the number of segments, not of events. A directory that does not exist is empty.

    Raises:
        QueueDamaged: the committed state cannot be read.
        OSError: the disk refuses.
    """
    for _ in range(_ATTEMPTS):
        state = load_state(directory)
        glances = dict(_glances(directory, state))
        # Events of a segment that was retired in between are in neither: count again. All else adds up, because the
        # journal only grows, and what is settled of it is told by the one state.
        if load_state(directory).accepted == state.accepted:
            break
    return _census(state, glances)


def pending_bytes(directory: QueueDirectory) -> int:
    """Return the bytes of the journal that are not settled, by the sizes of the files alone.

    Raises:
        OSError: the disk refuses.
    """
    try:
        state = load_state(directory)
    except QueueDamaged:
        state = State()  # nothing is settled, then; to say so is the leader's
    total = 0
    for name in directory.segments():
        if name not in state.retired:
            with contextlib.suppress(FileNotFoundError):
                total += max(0, os.stat(directory.journal / name).st_size - _position(state, name)[0])
    return total


def _glances(directory: QueueDirectory, state: State) -> Iterator[tuple[str, Glance]]:
    for name in directory.segments():
        if name not in state.retired:
            # Retired meanwhile; or left alone by the leader of this version, and not to be counted either.
            with contextlib.suppress(FileNotFoundError, UnknownFormat):
                yield name, glance(directory.journal / name, _position(state, name))


def _position(state: State, name: str) -> Position:
    return state.cursor.get(name, BEGINNING)


def _census(state: State, glances: dict[str, Glance]) -> Census:
    pending = {name: seen.frames - _position(state, name)[1] for name, seen in glances.items()}
    gone = sum(sequence for name, (_, sequence) in state.cursor.items() if name not in glances)
    return Census(
        accepted=state.accepted + gone + sum(seen.frames for seen in glances.values()),
        delivered=state.delivered,
        pending=sum(pending.values()),
        parked=state.parked.rows,
        dead_lettered=state.dead.rows,
        discarded=state.discarded,
        pending_bytes=sum(max(0, seen.size - _position(state, name)[0]) for name, seen in glances.items()),
        oldest_accepted_at=oldest_accepted_at(seen.first for name, seen in glances.items() if pending[name]),
    )


def oldest_accepted_at(records: Iterable[bytes | None]) -> float | None:
    """Return when the oldest of these records' events was accepted, seconds since the epoch.

    None when there is no event, or all are damaged.
    """
    return min(_accepted_at(records), default=None)


def _accepted_at(records: Iterable[bytes | None]) -> Iterator[float]:
    """Give when each record's event was accepted; nothing for what is no record."""
    for record in records:
        if record is not None:
            with contextlib.suppress(ValueError, TypeError, LookupError):
                yield float(msgpack.unpackb(record)[-1])
