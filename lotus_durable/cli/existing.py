"""A queue that must be there already: commands that look at one or empty one never create it by mistake."""

from __future__ import annotations

import os

from lotus_durable.config import Config
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.identity import read_identity


def existing_queue(config: Config) -> QueueDirectory:
    """Return the queue directory; nothing is created or changed.

    Raises:
        QueueDirectoryError: it does not exist, holds no queue, or is unsafe.
        QueueDamaged: a later version made the queue, or which one it is cannot be read.
        OSError: it cannot be looked at.
    """
    directory = QueueDirectory(config.queue_dir)
    try:
        directory.check()
    except FileNotFoundError:
        raise QueueDirectoryError(
            f"queue directory {directory.root} does not exist; name the one your program uses with --queue-dir "
            "or LOTUS_QUEUE_DIR"
        ) from None
    if not os.path.isdir(directory.journal):
        raise QueueDirectoryError(
            f"directory {directory.root} holds no queue; name the one your program uses with --queue-dir "
            "or LOTUS_QUEUE_DIR"
        )
    read_identity(directory)
    return directory
