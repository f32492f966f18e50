"""Files that a crash has left half made, and what a flusher that begins does about them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Container

from lotus_durable.disk import is_file
from lotus_durable.errors import QueueDamaged

from .directory import QueueDirectory, segment_name
from .files import sync_path
from .format import UnknownFormat
from .journal import has_no_writer
from .protocol import Report
from .reader import header_of

_LEFTOVER_AGE = 60.0
"""Seconds after which a file whose creation did not finish, and that nobody holds, is a crash's leftover."""


def finish_unfinished(directory: QueueDirectory, known: Container[bytes], report: Report) -> list[str]:
    """See to files that a crash has left half made: publish what took the place of another segment, delete the rest.

    What cannot be looked at is told, and left where it is. Return which files these are, and why: each may hold events.
    The books know a segment that is not published only if it was settled, in the same transaction, that what it holds
    is no longer where it was.
    """
    unread = []
    for name in directory.unfinished():
        path = f"{directory.journal}/{name}"
        try:
            header = header_of(path)
            if header is not None and header.id in known:
                os.rename(path, f"{directory.journal}/{segment_name(header.created_ns, header.pid, header.marker)}")
                sync_path(directory.journal)
            else:
                _remove_leftover(path)
        except FileNotFoundError:
            pass  # its writer has given it its name, or thrown it away
        except (OSError, UnknownFormat) as error:
            report(QueueDamaged(f"journal/{name} is left alone: {error}"))
            if isinstance(error, OSError) and is_file(path):
                unread.append(f"journal/{name}: {error}")
    for path in directory.temporary_files():
        with contextlib.suppress(OSError):
            _remove_leftover(path)
    return unread


def _remove_leftover(path: str) -> None:
    # A writer whose file is taken away before it has its name notices, and creates another.
    if time.time() - os.stat(path).st_mtime > _LEFTOVER_AGE and has_no_writer(path):
        os.unlink(path)
