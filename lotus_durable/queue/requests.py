"""What other processes ask of the leader: one small file a request, answered by renaming it.

There is one kind: *drain*, that is "try everything now, the parked events too". A file, because the asking process may
die, the leader may die, and the next leader must still find it.
"""

from __future__ import annotations

import contextlib
import os
import time
from uuid import uuid4

from .directory import FILE_MODE, QueueDirectory, write_whole

_ANSWERED = ".done"
_UNATTENDED = ".unattended"
_ENOUGH = 100
"""Open requests after which a further reminder would tell the leader nothing."""
_FORGOTTEN_AFTER = 3600.0
"""Seconds after which nobody waits for an answer any more."""


def ask(directory: QueueDirectory) -> str:
    """Ask for a drain and return the request's name.

    Raises:
        OSError: the disk refuses.
    """
    name = uuid4().hex
    _create(directory, name)
    return name


def remind(directory: QueueDirectory) -> None:
    """Ask for a drain that nobody waits for: it leaves no answer behind.

    Raises:
        OSError: the disk refuses, or there is no queue.
    """
    if len(asked(directory)) < _ENOUGH:  # without a leader they pile up, and one drain carries out all of them
        _create(directory, uuid4().hex + _UNATTENDED)


def asked(directory: QueueDirectory) -> set[str]:
    """Return the names of the requests that have no answer yet."""
    try:
        return {name for name in os.listdir(directory.requests) if not name.endswith(_ANSWERED)}
    except FileNotFoundError:
        return set()


def answer(directory: QueueDirectory, name: str, reason: str | None) -> None:
    """Say that a request was carried out, or (``reason``) why it cannot be now."""
    path = directory.requests / name
    # A request that is gone was given up; a disk that refuses leaves it for the next look.
    with contextlib.suppress(OSError):
        if name.endswith(_UNATTENDED):
            path.unlink()
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            write_whole(descriptor, (reason or "").encode())
        finally:
            os.close(descriptor)
        os.rename(path, path.with_name(name + _ANSWERED))


def answered(directory: QueueDirectory, name: str) -> str | None:
    """Return the answer: empty when all was carried out, else the reason; None while there is no answer."""
    try:
        return (directory.requests / (name + _ANSWERED)).read_text()
    except FileNotFoundError:
        return None


def withdraw(directory: QueueDirectory, name: str) -> None:
    """Remove a request and its answer, and answers that nobody fetched."""
    for file in (name, name + _ANSWERED):
        (directory.requests / file).unlink(missing_ok=True)
    forgotten = time.time() - _FORGOTTEN_AFTER
    with contextlib.suppress(OSError), os.scandir(directory.requests) as entries:
        for entry in entries:
            if entry.name.endswith(_ANSWERED) and entry.stat().st_mtime < forgotten:
                os.unlink(entry)


def _create(directory: QueueDirectory, name: str) -> None:
    os.close(os.open(directory.requests / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
