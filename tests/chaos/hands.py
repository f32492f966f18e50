"""What hands do to files: deleted, cut off, moved, exchanged, mounted over, restored, cloned; each while in use."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lotus_durable.event.record import RecordError, decode_record
from lotus_durable.queue.books import read_page
from lotus_durable.queue.directory import original_name, released_name
from lotus_durable.queue.format import HEADER_SIZE, decode_header, frames
from lotus_durable.queue.heartbeat import Progress, read_progress
from lotus_durable.queue.protocol import Table

from .crew import is_alive, state_of, strike
from .oracle import BOOKS, CUT, RESTORED
from .stage import Stage

_PATIENCE = 10.0
_SOON = 3.0
_PID_IN_NAME = re.compile(r"-(\d+)-[0-9a-f]+\.seg$")
_TABLES: Sequence[Table] = ("parked", "dead")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def delete_locks(stage: Stage) -> bool:
    names = stage.chance.choice((["flusher.lock"], ["starting"], ["flusher.lock", "starting", "heartbeat", "requests"]))
    for name in names:
        Path(stage.queue.root, name).unlink(missing_ok=True)
    return True


def cut_segment(stage: Stage) -> bool:
    with _segment_in_use(stage) as (path, pid):
        if path is None:
            return False
        size = stage.chance.randrange(path.stat().st_size)
        ids = _ids_in(path, beyond=size)
        os.truncate(path, size)
    _wait_until_it_goes_on(stage, pid, path)
    mark_struck(stage, ids, CUT if is_alive(pid) else f"{CUT}, writer killed")
    return True


def delete_segment(stage: Stage) -> bool:
    """Its writer alone can still reach what is in it; if that is killed first, it is destroyed."""
    with _segment_in_use(stage) as (path, pid):
        if path is None:
            return False
        ids = _ids_in(path)
        path.unlink()
    _wait_until_it_goes_on(stage, pid, path)
    if not is_alive(pid):
        mark_struck(stage, ids, "segment deleted, writer killed")
    return True


def rename_segment(stage: Stage) -> bool:
    """Out of the journal, and back."""
    with _segment_in_use(stage) as (path, _):
        if path is None:
            return False
        elsewhere = Path(stage.queue.root, path.name)
        path.rename(elsewhere)
    stage.pass_(stage.chance.uniform(0.05, 0.6))
    elsewhere.rename(path)
    return True


def move_directory(stage: Stage) -> bool:
    """It, or the folder that it is in: away, and back; what was made in its place is put aside, and drained."""
    stage.counts_are_exact = False
    root = Path(stage.queue.root)
    moved = stage.chance.choice((root, root.parent))
    away = moved.with_name("away")
    moved.rename(away)
    stage.pass_(stage.chance.uniform(0.05, 1.5))
    while True:
        if root.exists():
            root.rename(_aside(stage))
        with contextlib.suppress(OSError):
            if moved != root:
                moved.rmdir()
        with contextlib.suppress(OSError):  # one was made in this moment
            away.rename(moved)
            return True


def swap_directory(stage: Stage) -> bool:
    """Exchanged with an empty one in one step, and back."""
    stage.counts_are_exact = False
    root, other = Path(stage.queue.root), _aside(stage)
    other.mkdir(mode=0o700)
    _exchange(root, other)
    stage.pass_(stage.chance.uniform(0.05, 1.5))
    _exchange(root, other)
    return True


def move_journal(stage: Stage) -> bool:
    """Exchanged with an empty one, and back; then what was written into that is moved to the others."""
    stage.counts_are_exact = False
    journal = Path(stage.queue.journal)
    other = Path(stage.queue.root, "journal.other")
    other.mkdir(mode=0o700)
    _exchange(journal, other)
    stage.pass_(stage.chance.uniform(0.05, 1.0))
    _exchange(journal, other)
    while True:
        for path in other.iterdir():
            with contextlib.suppress(FileNotFoundError):  # it had another name for a moment, until it was whole
                path.rename(journal / path.name)
        with contextlib.suppress(OSError):
            other.rmdir()
            return True


def mount_over(stage: Stage) -> bool:
    """Another folder is mounted over it for a moment; what is in that is drained at the end."""
    root = Path(stage.queue.root)
    if not stage.disk.can_be_filled:  # nothing can be mounted
        return False
    stage.counts_are_exact = False
    other = _aside(stage)
    other.mkdir(mode=0o700)
    subprocess.run(["mount", "--bind", os.fspath(other), os.fspath(root)], check=True, capture_output=True)
    stage.pass_(stage.chance.uniform(0.05, 1.5))
    subprocess.run(["umount", "-l", os.fspath(root)], check=True, capture_output=True)
    return True


def clone(stage: Stage) -> bool:
    """All of it is copied while it is in use, as a snapshot of a machine does; the copy is drained at the end."""
    target = _aside(stage)
    for _ in range(10):
        try:
            shutil.copytree(stage.queue.root, target)
        except (OSError, shutil.Error):
            shutil.rmtree(target, ignore_errors=True)  # a file went away meanwhile
        else:
            stage.counts_are_exact = False
            return True
    return False


def restore(stage: Stage) -> bool:
    """The books, the journal or both as they were a moment ago; what was refused since is destroyed."""
    part = stage.chance.choice(("books", "journal", "both"))
    backup = Path(stage.queue.root).with_name("backup")
    shutil.rmtree(backup, ignore_errors=True)
    with _stopped(stage, stage.flusher()) as is_stopped:
        if not is_stopped or (before := _copied(stage, backup)) is None:
            return False
    stage.pass_(stage.chance.uniform(0.3, 1.0))
    pid = stage.flusher()
    with _stopped(stage, pid) as is_stopped, contextlib.suppress(OSError):  # the books cannot be read in this moment
        if not is_stopped:
            return False
        if part != "journal":
            # First beside it: the disk may be full.
            copies = [
                shutil.copy2(path, f"{stage.queue.root}/restored-{path.name}") for path in backup.glob("books.db*")
            ]
            mark_struck(stage, sorted({*_rows(stage)} - before), RESTORED)
            for path in _books(stage):
                path.unlink()
            for copy in sorted(copies, reverse=True):
                os.rename(copy, copy.replace("restored-", ""))
        if part != "books":
            for path in (backup / "journal").iterdir():
                name = original_name(path.name)
                if not stage.queue.has_segment(name):
                    shutil.copy2(path, Path(stage.queue.journal, name))
        # Ended in the same moment: else it would write back what it has, see "books removed".
        stage.counts_are_exact = False
        stage.kill(pid)
        stage.flusher_killed(time.monotonic(), in_haste=True)
        return True
    for path in Path(stage.queue.root).glob("restored-*"):
        path.unlink()
    return False


def _copied(stage: Stage, backup: Path) -> set[str] | None:
    """Copy books and journal, while the flusher stands still; return the ids that the books hold, None for no copy."""
    try:
        shutil.copytree(stage.queue.journal, backup / "journal", ignore=shutil.ignore_patterns("*.new"))
        for path in _books(stage):
            shutil.copy2(path, backup)
        return {*_rows(stage)}
    except (OSError, shutil.Error):
        return None


def remove_books(stage: Stage) -> bool:
    """While they are open; sometimes the flusher is killed too, before it could write them back."""
    pid = stage.flusher()
    if not pid or not strike(pid, signal.SIGSTOP):
        return False
    books = Path(stage.queue.books)
    try:
        if not stage.wait(lambda: state_of(pid) == "T", _SOON) or not stage.crew.has_open(pid, books):
            return False  # nobody could write them back
        if read_progress(stage.queue) == Progress():
            return False  # the heartbeat has just been deleted too: nobody could know what was in them
        ids = _rows(stage)
        for path in _books(stage):
            path.unlink()
    except OSError:
        return False  # stopped in the middle of a transaction: they cannot be read
    finally:
        strike(pid, signal.SIGCONT)
    stage.counts_are_exact = False
    if stage.chance.random() < 0.3:
        stage.kill(pid)
        stage.flusher_killed(time.monotonic(), in_haste=True)
    elif stage.wait(lambda: books.exists() or not is_alive(pid), _PATIENCE) and is_alive(pid):
        return True  # all of it must be there again
    mark_struck(stage, ids, BOOKS)
    return True


@contextlib.contextmanager
def _segment_in_use(stage: Stage) -> Iterator[tuple[Path | None, int]]:
    """Give a segment that a worker writes, and its pid; the worker stands still meanwhile."""
    pid = stage.worker(that_has=lambda each: _segments_of(stage, each))
    if not pid or not strike(pid, signal.SIGSTOP):
        yield None, 0
        return
    try:
        stage.wait(lambda: state_of(pid) == "T", _SOON)
        own = _segments_of(stage, pid)
        yield (own[-1] if own else None), pid
    finally:
        strike(pid, signal.SIGCONT)


def _segments_of(stage: Stage, pid: int) -> list[Path]:
    found = []
    for name in stage.queue.segments():
        match = _PID_IN_NAME.search(name)
        if match is not None and int(match[1]) == pid and name != released_name(name):
            found.append(Path(stage.queue.journal, name))
    return found


def _wait_until_it_goes_on(stage: Stage, pid: int, path: Path) -> None:
    """Wait until a writer has noticed and goes on in another segment, or is dead."""
    if not stage.wait(lambda: not is_alive(pid) or set(_segments_of(stage, pid)) - {path}, _SOON):
        stage.tally.problems.append(
            f"process {pid} still writes segment {path.name}, {_SOON:g} s after a hand was on it"
        )


def _ids_in(path: Path, beyond: int = HEADER_SIZE) -> list[str]:
    """Return the ids of the events in a segment that end beyond a byte."""
    data = path.read_bytes()
    header = decode_header(data[:HEADER_SIZE])
    if header is None:
        return []
    return [id_of(record) for _, end, record, _ in frames(data, header.marker, HEADER_SIZE) if end > beyond]


def _aside(stage: Stage) -> Path:
    """Return where a queue directory can be put that is drained at the end."""
    root = Path(stage.queue.root)
    stage.asides.append(root.parent.with_name(f"aside{len(stage.asides)}"))
    return stage.asides[-1]


def _exchange(one: Path, other: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2", os.fspath(one))


@contextlib.contextmanager
def _stopped(stage: Stage, pid: int) -> Iterator[bool]:
    """Have the flusher stand still; whether it does, with the books open."""
    is_struck = bool(pid) and strike(pid, signal.SIGSTOP)
    try:
        yield (
            is_struck
            and stage.wait(lambda: state_of(pid) == "T", _SOON)
            and stage.crew.has_open(pid, stage.queue.books)
        )
    finally:
        strike(pid, signal.SIGCONT)


def _books(stage: Stage) -> list[Path]:
    """Return the files of the books, the database first."""
    return sorted(path for end in ("", "-wal", "-shm") if (path := Path(stage.queue.books + end)).exists())


def _rows(stage: Stage) -> list[str]:
    """Return the ids of the parked events and dead letters.

    Raises:
        OSError: they cannot be read: who has them open was stopped in the middle of a transaction.
    """
    books = stage.queue.books
    return [id_of(each.record) for table in _TABLES for each in read_page(books, table, 0, 1 << 30)]


def mark_struck(stage: Stage, ids: Sequence[str], name: str) -> None:
    stage.counts_are_exact = False
    stage.struck.update(dict.fromkeys(ids, name))


def id_of(record: bytes) -> str:
    try:
        return decode_record(record).idempotency_id
    except RecordError:
        return ""
