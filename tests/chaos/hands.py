"""What hands do to files that are in use: cut off, deleted, moved away and back."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lotus_durable.event.record import RecordError, decode_record
from lotus_durable.queue.books import read_page
from lotus_durable.queue.database import fetched
from lotus_durable.queue.directory import released_name
from lotus_durable.queue.format import HEADER_SIZE, decode_header, frames
from lotus_durable.queue.heartbeat import Progress, read_progress
from lotus_durable.queue.protocol import Table
from lotus_durable.queue.rows import KEY_SIZE

from .harness import Harness
from .oracle import BOOKS, CUT
from .processes import is_alive, state_of, strike

_PATIENCE = 10.0
_SOON = 3.0
_PID_IN_NAME = re.compile(r"-(\d+)-[0-9a-f]+\.seg$")
_TABLES: Sequence[Table] = ("parked", "dead")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def delete_locks(harness: Harness) -> bool:
    names = harness.chance.choice(
        (["flusher.lock"], ["starting"], ["flusher.lock", "starting", "heartbeat", "requests"])
    )
    for name in names:
        Path(harness.queue.root, name).unlink(missing_ok=True)
    return True


def cut_segment(harness: Harness) -> bool:
    with _segment_in_use(harness) as (path, pid):
        if path is None:
            return False
        size = harness.chance.randrange(path.stat().st_size)
        ids = _ids_in(path, beyond=size)
        os.truncate(path, size)
    _wait_until_it_goes_on(harness, pid, path)
    mark_struck(harness, ids, CUT if is_alive(pid) else f"{CUT}, writer killed")
    return True


def delete_segment(harness: Harness) -> bool:
    """Its writer alone can still reach what is in it; if that is killed first, it is destroyed."""
    with _segment_in_use(harness) as (path, pid):
        if path is None:
            return False
        ids = _ids_in(path)
        path.unlink()
    _wait_until_it_goes_on(harness, pid, path)
    if not is_alive(pid):
        mark_struck(harness, ids, "segment deleted, writer killed")
    return True


def rename_segment(harness: Harness) -> bool:
    """Out of the journal, and back."""
    with _segment_in_use(harness) as (path, _):
        if path is None:
            return False
        elsewhere = Path(harness.queue.root, path.name)
        path.rename(elsewhere)
    harness.pass_(harness.chance.uniform(0.05, 0.6))
    elsewhere.rename(path)
    return True


def remove_books(harness: Harness) -> bool:
    """While they are open; sometimes the flusher is killed too, before it could write them back."""
    pid = harness.flusher()
    if not pid or not strike(pid, signal.SIGSTOP):
        return False
    books = Path(harness.queue.books)
    try:
        if not harness.wait(lambda: state_of(pid) == "T", _SOON) or not harness.processes.has_open(pid, books):
            return False  # nobody could write them back
        if read_progress(harness.queue) == Progress():
            return False  # the heartbeat has just been deleted too: nobody could know what was in them
        ids = refused_ids(harness)
        for path in books_of(harness):
            path.unlink()
    except OSError:
        return False  # stopped in the middle of a transaction: they cannot be read
    finally:
        strike(pid, signal.SIGCONT)
    harness.counts_are_exact = False
    if harness.chance.random() < 0.3:
        harness.kill(pid)
        harness.flusher_killed(time.monotonic(), in_haste=True)
    elif harness.wait(lambda: books.exists() or not is_alive(pid), _PATIENCE) and is_alive(pid):
        return True  # all of it must be there again
    mark_struck(harness, ids, BOOKS)
    return True


@contextlib.contextmanager
def _segment_in_use(harness: Harness) -> Iterator[tuple[Path | None, int]]:
    """Give a segment that a worker writes, and its pid; the worker stands still meanwhile."""
    rows = harness.queue.queue_db  # who has them open goes on there, and needs no other segment
    pid = harness.worker(
        that_has=lambda each: _segments_of(harness, each) and not harness.processes.has_open(each, rows)
    )
    if not pid or not strike(pid, signal.SIGSTOP):
        yield None, 0
        return
    try:
        harness.wait(lambda: state_of(pid) == "T", _SOON)
        # Not one that it has moved on from, and has left what it holds: nobody could carry that over.
        own = [path for path in _segments_of(harness, pid) if harness.processes.has_open(pid, path)]
        yield (own[-1] if own else None), pid
    finally:
        strike(pid, signal.SIGCONT)


def _segments_of(harness: Harness, pid: int) -> list[Path]:
    found = []
    for name in harness.queue.segments():
        match = _PID_IN_NAME.search(name)
        if match is not None and int(match[1]) == pid and name != released_name(name):
            found.append(Path(harness.queue.journal, name))
    return found


def _wait_until_it_goes_on(harness: Harness, pid: int, path: Path) -> None:
    """Wait until a writer has noticed and goes on in another segment, or is dead."""
    if not harness.wait(lambda: not is_alive(pid) or set(_segments_of(harness, pid)) - {path}, _PATIENCE):
        harness.tally.problems.append(
            f"process {pid} still writes segment {path.name}, {_PATIENCE:g} s after a hand was on it"
        )


def _ids_in(path: Path, beyond: int = HEADER_SIZE) -> list[str]:
    """Return the ids of the events in a segment that end beyond a byte."""
    data = path.read_bytes()
    header = decode_header(data[:HEADER_SIZE])
    if header is None:
        return []
    return [id_of(record) for _, end, record, _ in frames(data, header.marker, HEADER_SIZE) if end > beyond]


def remove_rows(harness: Harness) -> bool:
    """The database of rows, while it is open: the flusher reads it to its end, and writers carry over what is left."""
    pid = harness.flusher()
    rows = Path(harness.queue.queue_db)
    if not pid or not harness.processes.has_open(pid, rows):
        return False
    harness.counts_are_exact = False
    with stopped(harness, pid) as is_stopped:
        if not is_stopped:
            return False
        try:
            ids = [
                id_of(data[KEY_SIZE:]) for (data,) in fetched(str(rows), str(rows), "SELECT data FROM queue_pending")
            ]
        except OSError:
            return False
        for suffix in ("", "-wal", "-shm"):
            rows.with_name(rows.name + suffix).unlink(missing_ok=True)
    harness.wait(lambda: rows.exists() or not is_alive(pid), _SOON)
    harness.pass_(0.5)
    if not is_alive(pid):
        mark_struck(harness, ids, "rows removed, flusher ended")
    return True


@contextlib.contextmanager
def stopped(harness: Harness, pid: int) -> Iterator[bool]:
    """Have the flusher stand still; whether it does, with the books open."""
    is_struck = bool(pid) and strike(pid, signal.SIGSTOP)
    try:
        yield (
            is_struck
            and harness.wait(lambda: state_of(pid) == "T", _SOON)
            and harness.processes.has_open(pid, harness.queue.books)
        )
    finally:
        strike(pid, signal.SIGCONT)


def books_of(harness: Harness) -> list[Path]:
    """Return the files of the books, the database first."""
    return sorted(path for end in ("", "-wal", "-shm") if (path := Path(harness.queue.books + end)).exists())


def refused_ids(harness: Harness) -> list[str]:
    """Return the ids of the parked events and dead letters.

    Raises:
        OSError: they cannot be read: who has them open was stopped in the middle of a transaction.
    """
    books = harness.queue.books
    return [id_of(each.record) for table in _TABLES for each in read_page(books, table, 0, 1 << 30)]


def mark_struck(harness: Harness, ids: Sequence[str], name: str) -> None:
    harness.counts_are_exact = False
    harness.struck.update(dict.fromkeys(ids, name))


def id_of(record: bytes) -> str:
    try:
        return decode_record(record).idempotency_id
    except RecordError:
        return ""
