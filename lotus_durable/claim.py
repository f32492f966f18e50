"""Making a queue ours when a client is set up: of the right server, and with which key."""

from __future__ import annotations

import contextlib
import logging
import time

from lotus_durable.config import DEFAULT_HOST, Config
from lotus_durable.errors import QueueDamaged
from lotus_durable.imports import uncut
from lotus_durable.queue.destination import (
    OtherDestination,
    claim_destination,
    normalised,
    other_destination,
    read_destination,
    replace_destination,
)
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.keys import note_key
from lotus_durable.tracker import open_queue

logger = logging.getLogger("lotus_durable")

_PATIENCE = 0.5
"""Seconds in which a client that was just let go of, with the old setting, ends its uploading."""
_PAUSE = 0.02


def claim_queue(config: Config) -> None:
    """Make the queue directory that of ``config.host``, if it is nobody's or nothing is left in it for another.

    A client without an API key cannot upload and may not know the host (workers beside an external flusher; a program
    that only looks at ``stats()``): it claims nothing, and is refused only for a host that somebody has set.

    Raises:
        OtherDestination: (a QueueDirectoryError) its events are for another server; names both.
        OSError: the disk refuses.
    """
    directory = QueueDirectory(config.queue_dir)
    ours = normalised(config.host)
    if config.api_key is not None:
        found = claim_destination(directory, config.host)
        _note_key(directory, config.api_key)
    elif config.host == DEFAULT_HOST:
        return
    else:
        found = read_destination(directory) or ours
    if found != ours:
        _take_over(config, directory, found)


def _note_key(directory: QueueDirectory, api_key: str) -> None:
    with contextlib.suppress(OSError):  # it only helps
        if note_key(directory, api_key):
            logger.warning(
                "another API key than before is used for the queue in %s; if it was not rotated, two programs share a "
                "queue that must not",
                directory.root,
            )


def _take_over(config: Config, directory: QueueDirectory, found: str) -> None:
    """Replace the marker if nothing is left for the old server and nobody can add to it meanwhile."""
    with uncut():
        from lotus_durable.flusher.lock import Leadership

    if config.api_key is None:
        raise OtherDestination(other_destination(directory, found, config.host))
    leadership = Leadership(directory.leader_lock)
    gives_up_at = time.monotonic() + _PATIENCE
    while not leadership.acquire():
        if time.monotonic() >= gives_up_at:
            raise OtherDestination(other_destination(directory, found, config.host, "somebody uploads from it"))
        time.sleep(_PAUSE)
    try:
        reason = _why_not(config)
        if reason is None:
            replace_destination(directory, config.host)
            # Whoever opened a segment before it could see the new marker is seen now; whoever does later sees that.
            reason = _why_not(config)
            if reason is not None:
                replace_destination(directory, found)
        if reason is not None:
            raise OtherDestination(other_destination(directory, found, config.host, reason))
    finally:
        leadership.release()
    logger.warning(
        "the queue in %s was settled; from now on its events are for %s, no longer for %s",
        directory.root,
        normalised(config.host),
        found,
    )


def _why_not(config: Config) -> str | None:
    with contextlib.closing(open_queue(config, lambda _error: None)) as queue:
        try:
            census = queue.census()
        except QueueDamaged as error:
            return str(error)
        if census.pending or census.parked:
            return f"{census.pending} pending and {census.parked} parked events are in it"
        return "another process writes to it" if queue.is_being_written() else None
