"""What a command works on: its configuration, and the queue that must be there already.

Commands that look at a queue or empty one never create it by mistake.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shlex
from collections.abc import Mapping

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError, LotusError, QueueDirectoryError
from lotus_durable.operate.overview import other_queues
from lotus_durable.options import environment_name
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.identity import read_identity
from lotus_durable.values import NamedTuple

from .env_file import environment
from .output import tell

_DEFAULT_DIRECTORY = "the default of this user"
"""Where a queue directory comes from that nobody named."""


class Configured(NamedTuple):
    """The configuration of a command: its arguments, the environment file, the environment, the defaults."""

    config: Config
    source: str
    """Why its queue directory is this one."""
    variables: Mapping[str, str]
    """The environment, with what the file says."""
    places: Mapping[str, str]
    """Where those stand that come from the file."""

    @property
    def directory(self) -> QueueDirectory:
        """Of its queue."""
        return QueueDirectory(self.config.queue_dir)


def configured(arguments: argparse.Namespace) -> Configured:
    """Return the configuration of a command. Each call reads the files again, which a pipe may not bear.

    Raises:
        ConfigurationError: an option is wrong, or a file cannot be read.
    """
    variables, places = environment(arguments.env_file)
    variable = environment_name("queue_dir")
    source = "$STATE_DIRECTORY" if os.environ.get("STATE_DIRECTORY") else _DEFAULT_DIRECTORY
    if arguments.queue_dir is not None or variables.get(variable):
        source = variable if arguments.queue_dir is None else "--queue-dir"
    given = {"queue_dir": arguments.queue_dir, "api_key_file": arguments.api_key_file}
    try:
        return Configured(Config.resolve(given, environ=variables), source, variables, places)
    except ConfigurationError as error:
        place = places.get(str(error).partition(":")[0])
        if place is None:
            raise
        raise type(error)(f"{place}: {error}") from None


def existing_queue(arguments: argparse.Namespace, *, is_checked: bool = True) -> Configured:
    """Return the configuration of a command, and so its queue. Nothing is created or changed.

    A queue directory that nobody named is said on standard error.

    Raises:
        ConfigurationError: an option is wrong, or a file cannot be read.
        QueueDirectoryError: it does not exist, holds no queue, or is unsafe.
        QueueDamaged: a later version made the queue, or which one it is cannot be read.
        OSError: it cannot be looked at.
    """
    found = configured(arguments)
    directory, source = found.directory, found.source
    try:
        directory.check()
    except FileNotFoundError:
        raise _none_here(directory, source, f"queue directory {directory.root} does not exist") from None
    if not os.path.isdir(directory.journal):
        raise _none_here(directory, source, f"directory {directory.root} holds no queue")
    if is_checked:
        read_identity(directory)
    if source == _DEFAULT_DIRECTORY and not arguments.json:
        tell(f"queue directory: {directory.root} ({source})")
    return found


def _none_here(directory: QueueDirectory, source: str, what: str) -> QueueDirectoryError:
    others = ", ".join(root for root, _ in other_queues(directory)) if source == _DEFAULT_DIRECTORY else ""
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
