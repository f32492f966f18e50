"""What a queue is to the rest of the package; the journal is one, and others can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lotus_durable.errors import LotusError

from .books import StoredEvent
from .directory import QueueDirectory
from .reader import Damage, Position


@dataclass(frozen=True, slots=True)
class Census:
    """What is in a queue.

    At any quiescent moment and across restarts ``accepted = delivered + pending + parked + dead_lettered + discarded``.
    """

    accepted: int
    delivered: int
    pending: int
    parked: int
    dead_lettered: int
    discarded: int
    pending_bytes: int
    """Bytes on disk that are not settled."""
    oldest_accepted_at: float | None
    """When the oldest pending event was accepted, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one source, or a damaged stretch of it."""

    source: str
    records: Sequence[bytes]
    positions: Sequence[Position]
    """The position after each record; for damage, the one position after it."""
    damage: Damage | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of events; committed as one."""

    through: Mapping[str, Position] = field(default_factory=dict)
    """For each source, the position up to which every event is settled by this and earlier settlements."""
    delivered: int = 0
    parked: Sequence[StoredEvent] = ()
    dead: Sequence[StoredEvent] = ()
    resolved: Sequence[StoredEvent] = ()
    """Parked events (with their ids) that are no longer: delivered, dead, or parked anew by this settlement."""


class LeadershipLost(Exception):
    """Somebody else committed: this consumer is no longer the only one and must stop. Not an error of the user's."""


class BackgroundSync(Protocol):
    """Makes what was accepted survive a power cut, a little later."""

    def run(self) -> None:
        """Sync what was accepted since the last run; report what fails, raise nothing."""


class Consumer(Protocol):
    """The leader's side of a queue: one at a time, in one thread."""

    def read(self, limit: int) -> Chunk | None:
        """Return up to ``limit`` further records, or None at the end of a pass over the queue.

        The next call begins a new pass, which finds what was appended since. Records come again only in a new
        consumer, if they were not settled.

        Raises:
            OSError: the disk refuses.
        """

    def settle(self, settlement: Settlement) -> None:
        """Commit: durable on return.

        Raises:
            OSError: the disk refuses; nothing of it counts.
            LeadershipLost: somebody else committed meanwhile.
        """

    def parked(self, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` parked events with an id above ``after``, oldest id first."""

    def last_parked(self) -> int:
        """Return the id of the last parked event, 0 when there is none."""

    def close(self) -> None:
        """Let go of files; unsettled events stay."""


class EventQueue(Protocol):
    """A durable queue shared by processes; an instance belongs to the process that made it."""

    def append(self, record: bytes) -> None:
        """Accept an event: it survives this process on return.

        Raises:
            QueueFull: it was not accepted.
            QueueDirectoryError: nor was it: the queue was given to another server or backend since it was set up.
        """

    def prepare(self) -> None:
        """Create the directory where it is missing, and make it this backend's.

        Raises:
            QueueDirectoryError: it is unsafe, or holds the events of another backend.
            OSError: the disk refuses.
        """

    def is_being_written(self) -> bool:
        """Whether a process has it open to append to, but for this object itself, which lets go of it.

        Raises:
            OSError: the disk refuses.
        """

    def census(self) -> Census:
        """Count what is in the queue, from any process.

        Raises:
            QueueDamaged: the committed state cannot be read.
            OSError: the disk refuses.
        """

    @property
    def directory(self) -> QueueDirectory:
        """Where it is."""

    def background_sync(self, report: Callable[[LotusError], None]) -> BackgroundSync:
        """Return what the leader runs every ``sync_interval``."""

    def consumer(self) -> Consumer:
        """Return the leader's side; only for the holder of the leader lock."""

    def write_back(self) -> int:
        """Write events that wait in memory for the disk; return how many still wait."""

    def close(self) -> None:
        """Write back, and let go of files; raises nothing."""

    def buffered(self) -> int:
        """Return how many accepted events wait in this process's memory because the disk takes none."""

    def before_fork(self) -> None:
        """Come to a state that a child can inherit."""

    def after_fork_in_parent(self) -> None:
        """Go on after :meth:`before_fork`."""

    def abandon(self) -> bool:
        """Drop everything inherited, in a forked child, without touching what is the parent's.

        Returns:
            Whether this process may be the leader: not when it inherited an open SQLite connection.
        """
