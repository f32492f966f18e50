"""Import: events from a file of JSON Lines into the journal, with their ids; all of the file or nothing.

A file becomes one segment, which is published when the last line is in it. Its id is a digest of the file, and the
books know the segments that were settled lately: so the same file is not taken a second time by mistake.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from typing import BinaryIO

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError, InvalidEvent, QueueFull
from lotus_durable.event.encoder import ARGUMENTS, EventEncoder, longest_event_name
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import ID_SIZE
from lotus_durable.queue.identity import ensure_identity, fingerprint
from lotus_durable.queue.limit import condition
from lotus_durable.values import NamedTuple

from . import Watch, unwatched
from .pending import headers, read_known
from .segment_file import NewSegment

_MOST_LINE = 64 << 20
"""Bytes; a longer line is no event."""
_MOST_TOLD = 20
_LOOK_EVERY = 1000  # lines


class Imported(NamedTuple):
    """What an import did."""

    events: int
    """That are in the queue now."""
    skipped: int
    """Lines that are no event."""
    problems: list[str]
    """What is wrong with the first of them."""
    delivered: int = 0
    """Events that were delivered already, as an export says of those that ``keep_delivered`` keeps: left out."""
    already: bool = False
    """The same file was imported before: nothing was done."""


def import_events(
    config: Config,
    file: BinaryIO,
    *,
    skip_invalid: bool = False,
    again: bool = False,
    watch: Watch = unwatched,
) -> Imported:
    """Import a file.

    Args:
        config: the queue; its key is the one that the events are for.
        file: JSON Lines: objects with ``customer_id`` and ``event_name``, and, as far as they are there,
            ``idempotency_id``, ``time_created`` and ``properties``; other keys say nothing.
        skip_invalid: take the other lines where some are no events.
        again: also where the same file was imported before (as other events, if they have no ids), and what was
            delivered already.
        watch: told how many bytes were read.

    Raises:
        ConfigurationError: lines are no events, and nothing was imported.
        QueueFull: there is no room for it in the queue; nothing was imported.
        OSError: the disk refuses; nothing was imported.
    """
    directory = QueueDirectory(config.queue_dir)
    directory.prepare()
    ensure_identity(directory)
    encoder = EventEncoder(config.max_event_bytes, longest_event_name(config.api_version))
    digest = blake2b(digest_size=ID_SIZE)
    segment = NewSegment(directory, fingerprint(config.api_key))
    left = config.max_queue_bytes - condition(directory).used_bytes
    problems: list[str] = []
    skipped = read = delivered = 0
    try:
        for number, line in enumerate(iter(partial(file.readline, _MOST_LINE), b""), 1):
            digest.update(line)
            read += len(line)
            try:
                delivered += not _add(segment, encoder, line, again=again)
            except ValueError as error:
                skipped += 1
                problems += [f"line {number}: {error}"] if len(problems) < _MOST_TOLD else []
            if number % _LOOK_EVERY == 0:
                watch(read)
                if segment.size > left:
                    raise QueueFull(
                        f"no room for it: max_queue_bytes is {config.max_queue_bytes}; nothing was imported"
                    )
        watch(read)
        if problems and not skip_invalid:
            what = f"{skipped} of the lines are no events, nothing was imported (--skip-invalid takes the others)"
            raise ConfigurationError(f"{what}: {problems[0]}")
        if not again:
            segment.take_id(digest.digest())
        segment.finish()
        with _alone(directory):
            if not again and _was_imported(directory, digest.digest()):
                return Imported(0, skipped, problems, delivered, already=True)
            if segment.events:
                segment.publish()
        return Imported(segment.events, skipped, problems, delivered)
    finally:
        segment.discard()


@contextlib.contextmanager
def _alone(directory: QueueDirectory) -> Iterator[None]:
    """Have other imports wait: two of the same file would both find that it was not imported."""
    journal = os.open(directory.journal, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(journal, fcntl.LOCK_EX)
        yield
    finally:
        os.close(journal)


def _add(segment: NewSegment, encoder: EventEncoder, line: bytes, *, again: bool) -> bool:
    """Add the event in a line, if that is not empty; one that is delivered already is left out, and False is returned.

    Raises:
        ValueError: there is none in it; the message quotes nothing of it.
    """
    if line.isspace():
        return True
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({type(error).__name__})") from None
    if not isinstance(event, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  # a line of a file, not an argument
    if event.get("state") == "kept" and not again:
        return False
    if "data" in event and "event_name" not in event:
        raise ValueError("it is bytes that an export could not read")
    try:
        _, record = encoder.encode(*(event.get(name) for name in ARGUMENTS))
    except InvalidEvent as error:
        raise ValueError(str(error)) from None
    segment.add(record)
    return True


def _was_imported(directory: QueueDirectory, segment: bytes) -> bool:
    """Whether a segment with this id lies here, or did and is known."""
    known = read_known(directory, lambda _: None)
    if segment in known.cursors or segment in known.retired:
        return True
    return any(header is not None and header.id == segment for _, header in headers(directory))
