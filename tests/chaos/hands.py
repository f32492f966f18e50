"""What hands do to files that are in use: cut off, deleted, moved away and back."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lotus_durable.event.record import RecordError, decode_record
from lotus_durable.queue.directory import QueueDirectory, original_name, released_name
from lotus_durable.queue.format import HEADER_SIZE
from lotus_durable.queue.heartbeat import Progress, read_progress
from lotus_durable.queue.protocol import StoredEvent, Table
from lotus_durable.queue.reader import SegmentReader
from lotus_durable.queue.rows import KEY_SIZE
from lotus_durable.queue.table import fetched
from tests.pages import read_page

from .harness import WRITTEN_BACK, Harness
from .oracle import BOOKS, CUT
from .processes import has_open, is_alive, state_of, strike

_PATIENCE = 10.0
_SOON = 3.0
_PID_IN_NAME = re.compile(r"-(\d+)-[0-9a-f]+\.seg$")
_DAMAGE = re.compile(r"damage in segment (\S+) at byte ")
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
        known, whole = _segments_of(harness, pid), path.stat().st_size
        size = harness.chance.randrange(whole)
        ids = _ids_in(path, beyond=size)
        os.truncate(path, size)
        harness.cut.setdefault(path.name, set()).update(ids)

    def is_written_on() -> bool:
        """Whether the writer, which had looked just before, has not noticed: what was cut off is zeros now."""
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_size > whole
        return False

    _wait_until_it_goes_on(harness, pid, known, is_written_on)
    mark_struck(harness, ids, CUT if is_alive(pid) or is_written_on() else f"{CUT}, writer killed")
    return True


def delete_segment(harness: Harness) -> bool:
    """Its writer alone can still reach what is in it; if that is killed first, it is destroyed."""
    with _segment_in_use(harness) as (path, pid):
        if path is None:
            return False
        known, ids = _segments_of(harness, pid), _ids_in(path)
        path.unlink()
    _wait_until_it_goes_on(harness, pid, known)
    if not is_alive(pid):
        # With what was cut off from it before, and nobody had counted yet.
        mark_struck(harness, [*ids, *harness.cut.get(path.name, ())], "segment deleted, writer killed")
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
        if not harness.wait(lambda: state_of(pid) == "T", _SOON) or not has_open(pid, books):
            return False  # nobody could write them back
        if read_progress(harness.queue) == Progress():
            return False  # the heartbeat has just been deleted too: nobody could know what was in them
        ids, said, written = refused_ids(harness), harness.said_of_books(), harness.said_of_books(WRITTEN_BACK)
        harness.damage.append(damage_in(harness.queue))
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
    else:
        # One that has them open writes them back, when it waits for nothing (a refused key, say), and may be killed
        # before that. One that was just opening them begins new ones, and says that they are gone when it has made
        # these. On a full disk neither is said, nor done, before there is room.
        harness.wait(
            lambda: (
                harness.said_of_books() != said
                or harness.said_of_books(WRITTEN_BACK) != written
                or (harness.disk.is_full and has_open(pid, books))
                or not is_alive(pid)
            ),
            _PATIENCE,
        )
        if harness.said_of_books() == said and harness.said_of_books(WRITTEN_BACK) != written:
            return True
    mark_struck(harness, ids, BOOKS)
    harness.books_gone.append((ids, said))
    return True


@contextlib.contextmanager
def _segment_in_use(harness: Harness) -> Iterator[tuple[Path | None, int]]:
    """Give a segment that a worker writes, and its pid; the worker stands still meanwhile."""
    rows = harness.queue.queue_db  # who has them open goes on there, and needs no other segment
    pid = harness.worker(that_has=lambda each: _segments_of(harness, each) and not has_open(each, rows))
    if not pid or not strike(pid, signal.SIGSTOP):
        yield None, 0
        return
    try:
        harness.wait(lambda: state_of(pid) == "T", _SOON)
        # Not one that it has moved on from, and has left what it holds: nobody could carry that over.
        own = [path for path in _segments_of(harness, pid) if has_open(pid, path)]
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


def _wait_until_it_goes_on(
    harness: Harness, pid: int, known: Sequence[Path], is_written_on: Callable[[], bool] = lambda: False
) -> None:
    """Wait until a writer has noticed, goes on in a segment that was not known and has told; or is dead.

    On a full disk it can make no segment, and goes on in its memory.
    """
    before = harness.calls(pid)

    def is_over() -> bool:
        goes_on_in_memory = harness.disk.is_full and harness.calls(pid) > before
        return not is_alive(pid) or is_written_on() or goes_on_in_memory

    if not harness.wait(lambda: is_over() or set(_segments_of(harness, pid)) - set(known), _PATIENCE):
        harness.tally.problems.append(f"process {pid} does not go on, {_PATIENCE:g} s after a hand was on its segment")
        return
    # It tells in the same call, after it has made that segment.
    calls = harness.calls(pid)
    harness.wait(lambda: is_over() or harness.calls(pid) > calls, _PATIENCE)


def _ids_in(path: Path, beyond: int = HEADER_SIZE) -> list[str]:
    """Return the ids of the events in a segment that end beyond a byte; also those behind what was cut off before."""
    with contextlib.closing(SegmentReader(os.fspath(path))) as reader:
        found: list[str] = []
        while (stretch := reader.read(1000)) is not None:
            ends = [offset for offset, _ in stretch.positions]
            found += [id_of(record) for record, end in zip(stretch.records, ends, strict=False) if end > beyond]
        return found


def remove_rows(harness: Harness) -> bool:
    """The database of rows, while it is open: the flusher reads it to its end, and writers carry over what is left."""
    pid = harness.flusher()
    rows = Path(harness.queue.queue_db)
    if not pid or not has_open(pid, rows):
        return False
    harness.counts_are_exact = False
    with stopped(harness, pid) as is_stopped:
        if not is_stopped:
            return False
        try:
            ids = [id_of(data[KEY_SIZE:]) for (data,) in fetched(str(rows), "SELECT data FROM queue_pending")]
        except OSError:
            return False
        for suffix in ("", "-wal", "-shm"):
            rows.with_name(rows.name + suffix).unlink(missing_ok=True)
    harness.wait(lambda: rows.exists() or not is_alive(pid), _SOON)
    harness.pass_(0.5)
    if not is_alive(pid):
        mark_struck(harness, ids, "rows removed, flusher ended")
    return True


def remove_delivered(harness: Harness) -> bool:
    """The ids delivered lately, while a flusher has them open: they are gone, or those of a moment ago."""
    path = Path(harness.queue.delivered)
    try:
        if harness.chance.random() < 0.5:
            path.unlink()
            return True
        copy = path.with_name(f"restored-{path.name}")
        shutil.copy2(path, copy)
        harness.pass_(harness.chance.uniform(0.3, 1.0))
        copy.rename(path)
    except OSError:  # the disk is full, or the directory is elsewhere
        return False
    return True


@contextlib.contextmanager
def stopped(harness: Harness, pid: int) -> Iterator[bool]:
    """Have the flusher stand still; whether it does, with the books open."""
    is_struck = bool(pid) and strike(pid, signal.SIGSTOP)
    try:
        yield (is_struck and harness.wait(lambda: state_of(pid) == "T", _SOON) and has_open(pid, harness.queue.books))
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
    return [id_ for table in _TABLES for id_ in ids_of(harness.queue, table)]


def ids_of(directory: QueueDirectory, table: Table) -> list[str]:
    """Return the ids of the parked events or of the dead letters; of those of damage nothing is known."""
    stored = read_page(directory.books, table, 0, 1 << 30)
    return [id_of(each.record) for each in stored if not _damaged_segment(each)]


def damage_in(directory: QueueDirectory) -> Mapping[str, int]:
    """Return how many dead letters say that a segment was damaged, by segment."""
    return Counter(filter(None, map(_damaged_segment, read_page(directory.books, "dead", 0, 1 << 30))))


def _damaged_segment(letter: StoredEvent) -> str:
    match = None if letter.record else _DAMAGE.match(letter.reason)
    return "" if match is None else original_name(match[1])


def mark_struck(harness: Harness, ids: Sequence[str], name: str) -> None:
    harness.counts_are_exact = False
    harness.struck.update(dict.fromkeys(ids, name))


def id_of(record: bytes) -> str:
    try:
        return decode_record(record).idempotency_id
    except RecordError:
        return ""
