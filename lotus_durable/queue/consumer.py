"""The leader's side of the journal: read, settle, retire."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from lotus_durable.errors import QueueDamaged

from .books import Store, StoreDamaged, StoredEvent, Table
from .cursor import State, StoreMarks, load_state, read_signature, reserve_slots, save_state
from .directory import QueueDirectory, failed_mark, sync_directory
from .format import UnknownFormat
from .protocol import Chunk, LeadershipLost, Settlement
from .quarantine import keep_aside
from .reader import START, Position, SegmentReader
from .recovery import Report, recovered_state, remove_leftovers, undo_rows, with_checked_store, without_store

logger = logging.getLogger("lotus_durable")


class JournalConsumer:
    """See :class:`~.protocol.Consumer`. Making one finishes whatever a crashed leader left half done.

    Raises:
        OSError: the disk refuses.
        QueueDamaged: a newer version wrote the state; nothing was changed.
    """

    def __init__(self, directory: QueueDirectory, store: Store, report: Report, *, sync_interval: float) -> None:
        self._directory = directory
        self._sync_interval = sync_interval
        self._durable_at = -math.inf
        self._store = store
        self._report = report
        self._read: dict[str, Position] = {}
        self._ended: dict[str, Position] = {}
        self._pass: deque[str] = deque()
        self._reader: SegmentReader | None = None
        self._unreadable: set[str] = set()
        self._has_uncommitted_rows = False
        self._store_is_usable = True
        reserve_slots(directory)
        self._signature = read_signature(directory)
        self._state = self._recovered()
        # From here on there is a state, and it is durable: what it says is gone can be deleted.
        self._commit(self._state, durable=True)
        self._read.update(self._state.cursor)
        remove_leftovers(directory)

    def read(self, limit: int) -> Chunk | None:
        """Return the next chunk of this pass; see :class:`~.protocol.Consumer`.

        A segment that cannot be read is reported, and tried again with each pass; it does not hide the others.
        """
        if self._reader is None and not self._pass:
            settled = {*self._ended, *self._state.retired}
            self._pass.extend(name for name in self._directory.segments() if name not in settled)
        while self._reader or self._pass:
            name = self._reader.name if self._reader else self._pass.popleft()
            try:
                chunk = self._read_segment(name, limit)
            except FileNotFoundError:
                self.close()
            except (OSError, UnknownFormat) as error:
                self.close()
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    self._report(QueueDamaged(f"segment {name} is left alone: {error}"))
            else:
                if chunk is not None:
                    return chunk
        self._tidy()
        return None

    @property
    def state(self) -> State:
        """The committed state; what it no longer lists for deletion is deleted."""
        return self._state

    def settle(self, settlement: Settlement) -> None:
        """Commit; see :class:`~.protocol.Consumer`."""
        self._check_alone()  # before rows are added to what is another leader's
        try:
            self._settle(settlement)
        except StoreDamaged as error:
            self._state = without_store(self._store, self._state, self._report, error)
            self._settle(settlement)

    def parked(self, after: int, limit: int) -> list[StoredEvent]:
        """Return a page of the parked events; see :class:`~.protocol.Consumer`."""
        marks = self._state.parked
        if not marks.rows:
            return []
        try:
            page = self._store.page("parked", after, marks.high, limit + len(marks.removing))
        except StoreDamaged:
            raise
        except OSError as error:
            self._do_without_store(error)
            return []
        self._store_is_usable = True
        return [event for event in page if event.id not in marks.removing][:limit]

    def last_parked(self) -> int:
        """Return the id of the last parked event; see :class:`~.protocol.Consumer`."""
        return self._state.parked.high

    def close(self) -> None:
        """Let go of the open segment."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # Reading

    def _read_segment(self, name: str, limit: int) -> Chunk | None:
        """Return the next chunk of one segment, or None when this pass is done with it."""
        if self._reader is None:
            self._reader = SegmentReader(self._directory.journal / name, self._read.get(name, START))
        reader = self._reader
        # A writer that is faster than we are must not keep the other segments waiting. An empty file is read too:
        # it should have a header.
        stretch = reader.read(limit) if reader.position[0] < max(1, reader.size_at_opening) else None
        if stretch is None:
            if reader.finished():
                self._ended[name] = reader.position
            self.close()
            return None
        if stretch.damage is not None:
            keep_aside(self._directory, stretch.damage, self._report)
        self._unreadable.discard(name)
        self._read[name] = reader.position
        return Chunk(name, stretch.records, stretch.positions, stretch.damage)

    def _recovered(self) -> State:
        state = recovered_state(self._directory, self._store, self._report)
        try:
            return with_checked_store(self._store, state, self._report)
        except OSError as error:
            # What the state says of the store holds. Rows beyond that do not count, and must be gone before others are
            # added.
            self._has_uncommitted_rows = True
            self._do_without_store(error)
            return state

    def _do_without_store(self, error: OSError) -> None:
        """Deliver the others: a disk that this very queue has filled could not be emptied otherwise."""
        if self._store_is_usable:
            logger.warning("parked events wait, others are delivered: %s", error)
        self._store_is_usable = False

    # Settling

    def _settle(self, settlement: Settlement) -> None:
        state = self._state
        enters_rows = bool(settlement.parked or settlement.dead)
        if enters_rows and self._has_uncommitted_rows:
            undo_rows(self._store, state)
            self._has_uncommitted_rows = False
        parked = self._enter("parked", state.parked, settlement.parked)
        resolved = tuple(event.id for event in settlement.resolved)
        self._commit(
            replace(
                state,
                cursor={**state.cursor, **settlement.through},
                delivered=state.delivered + settlement.delivered,
                parked=replace(parked, rows=parked.rows - len(resolved), removing=(*parked.removing, *resolved)),
                dead=self._enter("dead", state.dead, settlement.dead),
            ),
            durable=enters_rows or bool(resolved) or time.monotonic() - self._durable_at >= self._sync_interval,
        )
        if enters_rows:
            self._has_uncommitted_rows = False

    def _enter(self, table: Table, marks: StoreMarks, events: Sequence[StoredEvent]) -> StoreMarks:
        """Insert rows that will count as soon as the state says so."""
        if not events:
            return marks
        self._has_uncommitted_rows = True
        return replace(marks, high=self._store.insert(table, events), rows=marks.rows + len(events))

    def _commit(self, state: State, *, durable: bool) -> None:
        """Make ``state`` the truth, then (if durable) do what it has promised."""
        retired = self._retirable(state) if durable else {}
        state = replace(
            state,
            generation=state.generation + 1,
            cursor={name: position for name, position in state.cursor.items() if name not in retired},
            retired=(*state.retired, *retired),
            accepted=state.accepted + sum(sequence for _, sequence in retired.values()),
        )
        self._check_alone()
        in_place = self._save(state, durable=durable)
        self._state, self._signature = state, read_signature(self._directory)
        for name in retired:
            del self._ended[name]
            self._read.pop(name, None)
        if durable and in_place is not None:
            self._durable_at = time.monotonic() if in_place else -math.inf
            self._carry_out()

    def _save(self, state: State, *, durable: bool) -> bool | None:
        """Write the state; return what :func:`save_state` does, or None when it counts but may not be durable."""
        try:
            return save_state(self._directory, state, durable=durable)
        except OSError as error:
            # After the rename only the sync of the directory can fail. The state counts then, but nothing may be
            # deleted on its word.
            if load_state(self._directory).generation != state.generation:
                raise
            logger.warning("a commit in %s may not survive a power cut: %s", self._directory.root, error)
            self._durable_at = -math.inf
            return None

    def _check_alone(self) -> None:
        if read_signature(self._directory) != self._signature:
            raise LeadershipLost("somebody else committed a state")

    def _retirable(self, state: State) -> dict[str, Position]:
        """Return the segments that are settled to their end, or never held anything to settle."""
        ended = self._ended.items()
        return {name: end for name, end in ended if state.cursor.get(name) == end or name not in self._read}

    def _carry_out(self) -> None:
        """Delete what the committed state says is gone. A failure leaves it listed, for the next time."""
        state = self._state
        try:
            for name in state.retired:
                for file in (name, failed_mark(name)):
                    (self._directory.journal / file).unlink(missing_ok=True)
            if state.retired:
                # Or a power cut could bring one back when the state has long forgotten it.
                sync_directory(self._directory.journal)
            if state.parked.removing:
                self._store.delete("parked", state.parked.removing)
        except OSError as error:
            logger.warning("cannot delete what is settled in %s, trying again later: %s", self._directory.root, error)
        else:
            # Not worth a commit of its own: deleting twice is harmless.
            self._state = replace(state, retired=(), parked=replace(state.parked, removing=()))

    def _tidy(self) -> None:
        """At the end of a pass: retire segments that are settled to their end."""
        if self._retirable(self._state):
            self._commit(self._state, durable=True)
