"""What a new leader does first: undo what was not committed, and make sense of what is damaged or gone.

Nothing here commits: the state that comes out is committed by the consumer, as one, before anything is deleted for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace

from lotus_durable.errors import LotusError, QueueDamaged

from .books import Store, StoreDamaged, Table
from .cursor import NewerState, State, StoreMarks, load_state, newest_recent_generation
from .directory import QueueDirectory, failed_mark
from .writer import is_abandoned

logger = logging.getLogger("lotus_durable")

_LEFTOVER_AGE = 60.0
"""Seconds after which a file whose creation did not finish, and that nobody holds, is a crash's leftover."""

Report = Callable[[LotusError], None]


def recovered_state(directory: QueueDirectory, store: Store, report: Report) -> State:
    """Return the state to go on from; the store's part of it is for :func:`with_checked_store`.

    Raises:
        QueueDamaged: a newer version wrote the state; nothing was changed.
        OSError: the disk refuses.
    """
    state = _load(directory, store, report)
    return _without_lost_segments(directory, state, report)


def with_checked_store(store: Store, state: State, report: Report) -> State:
    """Return the state with the rows that there really are, after undoing those that were never committed.

    Raises:
        OSError: the store cannot be used now, for want of room say: SQLite cannot even read then.
    """
    try:
        undo_rows(store, state)
        return _with_counted_rows(store, state, report)
    except StoreDamaged as error:
        return without_store(store, state, report, error)


def without_store(store: Store, state: State, report: Report, error: StoreDamaged) -> State:
    """Set a damaged store aside: it must not keep other events from being delivered."""
    lost = state.parked.rows + state.dead.rows
    report(QueueDamaged(f"{error}; {lost} events were in it; it was moved to {store.set_aside()}"))
    return replace(state, parked=StoreMarks(), dead=StoreMarks(), discarded=state.discarded + lost)


def _load(directory: QueueDirectory, store: Store, report: Report) -> State:
    try:
        state = load_state(directory)
    except NewerState:
        raise
    except QueueDamaged as error:
        return _start_over(directory, store, report, str(error))
    if directory.state.exists():
        return state
    # A leader's first act is to commit a state, before any row: without one, rows are not half a settlement's.
    if state.generation or store.exists():
        return _start_over(directory, store, report, "the state file is gone")
    return state


def _start_over(directory: QueueDirectory, store: Store, report: Report, reason: str) -> State:
    """Without a cursor everything in the journal is sent again: the server knows the ids and counts once."""
    aside = directory.state.with_name(f"state.damaged-{time.time_ns()}")
    # A copy for an operator, if the file system can. The file itself stays until the first commit replaces it: were
    # we to crash with no state at all, nobody would know that the rows of the store count.
    with contextlib.suppress(OSError):
        os.link(directory.state, aside)
    fresh = State(generation=newest_recent_generation(directory))
    report(QueueDamaged(f"{reason}; the events in the journal will be sent again"))
    try:
        parked, dead = _count_all(store, "parked"), _count_all(store, "dead")
    except StoreDamaged as error:
        return without_store(store, fresh, report, error)
    return replace(fresh, accepted=parked.rows + dead.rows, parked=parked, dead=dead)


def _count_all(store: Store, table: Table) -> StoreMarks:
    high = store.last_row(table)
    return StoreMarks(high=high, rows=store.count(table, high))


def _without_lost_segments(directory: QueueDirectory, state: State, report: Report) -> State:
    gone = set(state.cursor) - set(directory.segments())
    if not gone:
        return state
    # Deleted behind our back: what was settled of them stays counted.
    report(QueueDamaged(f"segments that were not settled to their end are gone: {', '.join(sorted(gone))}"))
    settled = sum(state.cursor[name][1] for name in gone)
    cursor = {name: position for name, position in state.cursor.items() if name not in gone}
    return replace(state, cursor=cursor, accepted=state.accepted + settled)


def undo_rows(store: Store, state: State) -> None:
    """Delete rows of a settlement that was never committed: a crash's, or one of ours that failed half way.

    Raises:
        OSError: the disk refuses.
    """
    tables: tuple[tuple[Table, StoreMarks], ...] = (("parked", state.parked), ("dead", state.dead))
    for table, marks in tables:
        undone = store.delete_above(table, marks.high)
        if undone:
            logger.info("undid %d %s rows of a settlement that was never committed", undone, table)


def _with_counted_rows(store: Store, state: State, report: Report) -> State:
    """Believe the store where it holds other rows than were counted: somebody deleted it, or some of them."""
    parked = store.count("parked", state.parked.high, state.parked.removing)
    dead = store.count("dead", state.dead.high, state.dead.removing)
    if (parked, dead) == (state.parked.rows, state.dead.rows):
        return state
    missing = state.parked.rows + state.dead.rows - parked - dead
    report(
        QueueDamaged(
            f"the store holds {parked} parked events and {dead} dead letters instead of {state.parked.rows} and "
            f"{state.dead.rows}: somebody else changed it"
        )
    )
    return replace(
        state,
        accepted=state.accepted + max(0, -missing),
        discarded=state.discarded + max(0, missing),
        parked=replace(state.parked, rows=parked),
        dead=replace(state.dead, rows=dead),
    )


def remove_leftovers(directory: QueueDirectory) -> None:
    """Delete files that a crash left half made, and marks for writers of segments that are gone."""
    segments = {failed_mark(name) for name in directory.segments()}
    for name in directory.failed_marks():
        if name not in segments:
            with contextlib.suppress(OSError):
                (directory.journal / name).unlink(missing_ok=True)
    for path in (*(directory.journal / name for name in directory.unfinished()), *directory.temporary_files()):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # A writer whose file is taken away before it has its name notices, and creates another.
                if time.time() - os.fstat(descriptor).st_mtime > _LEFTOVER_AGE and is_abandoned(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)
