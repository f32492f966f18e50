"""A queue that must be there already: commands that look at one or empty one never create it by mistake."""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shlex

from lotus_durable.config import Config
from lotus_durable.errors import LotusError, QueueDirectoryError
from lotus_durable.operate.overview import other_queues
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.identity import read_identity
from lotus_durable.values import NamedTuple

from .command import DEFAULT_DIRECTORY, configured
from .output import tell


class Existing(NamedTuple):
    """A queue that is there, and the configuration of the command."""

    config: Config
    directory: QueueDirectory
    source: str
    """Why it is this one."""


def existing_queue(arguments: argparse.Namespace, *, is_checked: bool = True) -> Existing:
    """Return the queue of a command. Nothing is created or changed.

    A queue directory that nobody named is said on standard error.

    Raises:
        QueueDirectoryError: it does not exist, holds no queue, or is unsafe.
        QueueDamaged: a later version made the queue, or which one it is cannot be read.
        OSError: it cannot be looked at.
    """
    config, _, source = configured(arguments)
    directory = QueueDirectory(config.queue_dir)
    try:
        directory.check()
    except FileNotFoundError:
        raise _none_here(directory, source, f"queue directory {directory.root} does not exist") from None
    if not os.path.isdir(directory.journal):
        raise _none_here(directory, source, f"directory {directory.root} holds no queue")
    if is_checked:
        read_identity(directory)
    if source == DEFAULT_DIRECTORY and not arguments.json:
        tell(f"queue directory: {directory.root} ({source})")
    return Existing(config, directory, source)


def _none_here(directory: QueueDirectory, source: str, what: str) -> QueueDirectoryError:
    others = ", ".join(root for root, _ in other_queues(directory)) if source == DEFAULT_DIRECTORY else ""
    return QueueDirectoryError(
        f"{what} ({source}); name the one your program uses with --queue-dir or LOTUS_QUEUE_DIR"
        + (f"; processes of this user use {others}" if others else "")
    )


def as_its_owner(arguments: argparse.Namespace) -> str:
    """Return what root has to type instead, where the queue is another user's; else nothing."""
    if os.geteuid() != 0 or not arguments.command.options:  # it uses no queue of an application
        return ""
    with contextlib.suppress(OSError, KeyError, LotusError):
        root = os.fspath(configured(arguments).config.queue_dir)
        owner = os.stat(root).st_uid
        if owner != 0:
            words = ["sudo", "-u", pwd.getpwuid(owner).pw_name, "lotus-durable", *arguments.given]
            if arguments.queue_dir is None:  # sudo passes on no environment
                words += ["--queue-dir", root]
            return f": {shlex.join(words)}"
    return ""
