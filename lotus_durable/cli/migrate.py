"""``lotus-durable migrate``: move a queue from one backend to the other."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import cast

from lotus_durable.config import Backend
from lotus_durable.errors import LotusError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Census
from lotus_durable.tracker import open_queue

from .command import Command, ExitCode, configuration
from .existing import existing_directory
from .output import complain, say, say_json
from .wording import count

_NAME = "lotus-durable migrate"
_DESCRIPTION = """\
Move a queue to the other backend: its pending events, and every count. Parked events and dead letters stay where they
are. Stop what uses the queue first, then set backend (LOTUS_BACKEND) for all of it. When it is interrupted, run it
again: nothing is lost or doubled, and until it has finished neither backend touches the directory.

keys of --json:
  queue_dir      the directory
  backend        whose it is now
  accepted, delivered, pending, parked, dead_lettered, discarded
                 numbers of events, which are what they were before"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", choices=("journal", "sqlite"), required=True, help="the backend to move the queue to")


def _run(arguments: argparse.Namespace) -> ExitCode:
    config = configuration(arguments)
    directory = existing_directory(config)
    backend = cast("Backend", arguments.to)
    from lotus_durable.queue.sqlite.migration import QueueInUse, migrate_to_journal, migrate_to_sqlite

    try:
        with _nobody_leading(directory):
            if backend == "sqlite":
                migrate_to_sqlite(directory, _tell)
            else:
                migrate_to_journal(directory, _tell, segment_bytes=config.segment_bytes)
            queue = open_queue(replace(config, backend=backend), _tell)
            with contextlib.closing(queue):
                census = queue.census()
    except (QueueInUse, OSError) as error:
        complain(_NAME, f"not moved: {error}")
        return ExitCode.NOT_COMPLETE
    _show(arguments, backend, directory, census)
    return ExitCode.DONE


@contextlib.contextmanager
def _nobody_leading(directory: QueueDirectory) -> Iterator[None]:
    from lotus_durable.flusher.lock import Leadership
    from lotus_durable.queue.sqlite.migration import QueueInUse

    leadership = Leadership(directory.leader_lock)
    if not leadership.acquire():
        raise QueueInUse(leadership.refusal or "a process uploads from the queue; stop it")
    try:
        yield
    finally:
        leadership.release()


def _tell(error: LotusError) -> None:
    complain(_NAME, str(error))


def _show(arguments: argparse.Namespace, backend: Backend, directory: QueueDirectory, census: Census) -> None:
    counts = {name: number for name, number in asdict(census).items() if name in _COUNTS}
    if arguments.json:
        say_json({"queue_dir": os.fspath(directory.root), "backend": backend, **counts})
    else:
        say(
            f"the queue in {directory.root} is kept by backend {backend} now: "
            f"{count(census.pending, 'event')} pending of {count(census.accepted)} accepted; "
            f"set backend (LOTUS_BACKEND) to {backend} for all that use it"
        )


_COUNTS = ("accepted", "delivered", "pending", "parked", "dead_lettered", "discarded")

COMMAND = Command(
    name="migrate",
    summary="move the queue from one backend to the other",
    description=_DESCRIPTION,
    run=_run,
    add_arguments=_add_arguments,
    heeds=("queue_dir", "segment_bytes"),
    exit_codes={
        ExitCode.DONE: "done: the directory is the named backend's",
        ExitCode.NOT_COMPLETE: "not complete: something uses the queue (it is as it was), or the disk refused",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; there is no queue in the directory, or it is unsafe",
        ExitCode.DAMAGED: "the queue is damaged so that it cannot be moved",
    },
)
