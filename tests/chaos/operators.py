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

from .hands import books_of, mark_struck, refused_ids, stopped
from .oracle import RESTORED
from .stage import Stage

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


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
    with stopped(stage, stage.flusher()) as is_stopped:
        if not is_stopped or (before := _copied(stage, backup)) is None:
            return False
    stage.pass_(stage.chance.uniform(0.3, 1.0))
    pid = stage.flusher()
    with stopped(stage, pid) as is_stopped, contextlib.suppress(OSError):  # the books cannot be read in this moment
        if not is_stopped:
            return False
        if part != "journal":
            # First beside it: the disk may be full.
            copies = [
                shutil.copy2(path, f"{stage.queue.root}/restored-{path.name}") for path in backup.glob("books.db*")
            ]
            mark_struck(stage, sorted({*refused_ids(stage)} - before), RESTORED)
            for path in books_of(stage):
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
        for path in books_of(stage):
            shutil.copy2(path, backup)
        return {*refused_ids(stage)}
    except (OSError, shutil.Error):
        return None


def _aside(stage: Stage) -> Path:
    """Return where a queue directory can be put that is drained at the end."""
    root = Path(stage.queue.root)
    stage.asides.append(root.parent.with_name(f"aside{len(stage.asides)}"))
    return stage.asides[-1]


def _exchange(one: Path, other: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2", os.fspath(one))
