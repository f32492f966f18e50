"""What operators do to a queue in use: it is moved, exchanged, mounted over, cloned, restored from a copy."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
from pathlib import Path

from lotus_durable.queue.directory import original_name

from .hands import books_of, damage_in, mark_struck, refused_ids, stopped
from .harness import Harness
from .oracle import RESTORED

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def move_directory(harness: Harness) -> bool:
    """It, or the folder that it is in: away, and back; what was made in its place is put aside, and drained."""
    harness.counts_are_exact = False
    root = Path(harness.queue.root)
    moved = harness.chance.choice((root, root.parent))
    away = moved.with_name("away")
    moved.rename(away)
    harness.pass_(harness.chance.uniform(0.05, 1.5))
    while True:
        if root.exists():
            root.rename(_aside(harness))
        with contextlib.suppress(OSError):
            if moved != root:
                moved.rmdir()
        with contextlib.suppress(OSError):  # one was made in this moment
            away.rename(moved)
            return True


def swap_directory(harness: Harness) -> bool:
    """Exchanged with an empty one in one step, and back."""
    harness.counts_are_exact = False
    root, other = Path(harness.queue.root), _aside(harness)
    other.mkdir(mode=0o700)
    _exchange(root, other)
    harness.pass_(harness.chance.uniform(0.05, 1.5))
    _exchange(root, other)
    return True


def move_journal(harness: Harness) -> bool:
    """Exchanged with an empty one, and back; then what was written into that is moved to the others."""
    harness.counts_are_exact = False
    journal = Path(harness.queue.journal)
    other = Path(harness.queue.root, "journal.other")
    other.mkdir(mode=0o700)
    _exchange(journal, other)
    harness.pass_(harness.chance.uniform(0.05, 1.0))
    _exchange(journal, other)
    while True:
        for path in other.iterdir():
            with contextlib.suppress(FileNotFoundError):  # it had another name for a moment, until it was whole
                path.rename(journal / path.name)
        with contextlib.suppress(OSError):
            other.rmdir()
            return True


def mount_over(harness: Harness) -> bool:
    """Another folder is mounted over it for a moment; what is in that is drained at the end."""
    root = Path(harness.queue.root)
    if not harness.disk.can_be_filled:  # nothing can be mounted
        return False
    harness.counts_are_exact = False
    other = _aside(harness)
    other.mkdir(mode=0o700)
    subprocess.run(["mount", "--bind", os.fspath(other), os.fspath(root)], check=True, capture_output=True)
    harness.pass_(harness.chance.uniform(0.05, 1.5))
    subprocess.run(["umount", "-l", os.fspath(root)], check=True, capture_output=True)
    return True


def clone(harness: Harness) -> bool:
    """All of it is copied while it is in use, as a snapshot of a machine does; the copy is drained at the end."""
    target = _aside(harness)
    for _ in range(10):
        try:
            shutil.copytree(harness.queue.root, target)
        except (OSError, shutil.Error):
            shutil.rmtree(target, ignore_errors=True)  # a file went away meanwhile
        else:
            harness.counts_are_exact = False
            return True
    return False


def restore(harness: Harness) -> bool:
    """The books, the journal or both as they were a moment ago; what was refused since is destroyed."""
    part = harness.chance.choice(("books", "journal", "both"))
    backup = Path(harness.queue.root).with_name("backup")
    shutil.rmtree(backup, ignore_errors=True)
    with stopped(harness, harness.flusher()) as is_stopped:
        if not is_stopped or (before := _copied(harness, backup)) is None:
            return False
    harness.pass_(harness.chance.uniform(0.3, 1.0))
    pid = harness.flusher()
    with stopped(harness, pid) as is_stopped, contextlib.suppress(OSError):  # the books cannot be read in this moment
        if not is_stopped:
            return False
        if part != "journal":
            # First beside it: the disk may be full.
            copies = [
                shutil.copy2(path, f"{harness.queue.root}/restored-{path.name}") for path in backup.glob("books.db*")
            ]
            mark_struck(harness, sorted({*refused_ids(harness)} - before), RESTORED)
            harness.damage.append(damage_in(harness.queue))
            for path in books_of(harness):
                path.unlink()
            for copy in sorted(copies, reverse=True):
                os.rename(copy, copy.replace("restored-", ""))
        if part != "books":
            for path in (backup / "journal").iterdir():
                name = original_name(path.name)
                if not harness.queue.has(name):
                    shutil.copy2(path, Path(harness.queue.journal, name))
        # Ended in the same moment: else it would write back what it has, see "books removed".
        harness.counts_are_exact = False
        harness.kill(pid)
        harness.flusher_killed(time.monotonic(), in_haste=True)
        return True
    for path in Path(harness.queue.root).glob("restored-*"):
        path.unlink()
    return False


def _copied(harness: Harness, backup: Path) -> set[str] | None:
    """Copy books and journal, while the flusher stands still; return the ids that the books hold, None for no copy."""
    try:
        shutil.copytree(harness.queue.journal, backup / "journal", ignore=shutil.ignore_patterns("*.new"))
        for path in books_of(harness):
            shutil.copy2(path, backup)
        return {*refused_ids(harness)}
    except (OSError, shutil.Error):
        return None


def _aside(harness: Harness) -> Path:
    """Return where a queue directory can be put that is drained at the end."""
    root = Path(harness.queue.root)
    harness.asides.append(root.parent.with_name(f"aside{len(harness.asides)}"))
    return harness.asides[-1]


def _exchange(one: Path, other: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2", os.fspath(one))
