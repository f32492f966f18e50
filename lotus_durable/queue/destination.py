"""Which server the events of a queue are for: a marker in the queue directory, left by whoever is first.

Two programs with different servers that share a queue by mistake would send each other's events to the wrong one. So
the first client leaves the server's address, and one that is set to another is refused. It may only be replaced when
nothing is left that is for the old server, and nobody who may add to that (:mod:`lotus_durable.claim`); whoever opens a
new segment looks at it afterwards, so that one of the two sees the other.
"""

from __future__ import annotations

import contextlib
import json
import os
from urllib.parse import urlsplit

from lotus_durable.errors import QueueDirectoryError

from .directory import QueueDirectory, sync_directory, write_atomically
from .writer import is_abandoned

_DEFAULT_PORTS = {"http": 80, "https": 443}


class OtherDestination(QueueDirectoryError):
    """The events in this queue are for another server."""


def normalised(host: str) -> str:
    """Return a server's URL in the one way in which two spellings of it are equal."""
    parts = urlsplit(host.strip())
    name = (parts.hostname or "").rstrip(".")  # in lower case
    if ":" in name:
        name = f"[{name}]"
    scheme = parts.scheme.lower()
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(scheme)) else f":{parts.port}"
    return f"{scheme}://{name}{port}{parts.path.rstrip('/')}"


def read_destination(directory: QueueDirectory) -> str | None:
    """Return the server that the queue's events are for, None when nobody has said so (or it cannot be read).

    Raises:
        OSError: the disk refuses.
    """
    try:
        host = json.loads(directory.destination.read_bytes())["host"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None
    return host if isinstance(host, str) else None


def claim_destination(directory: QueueDirectory, host: str) -> str:
    """Leave the marker unless there is one, and return what it says: of many at once exactly one leaves it.

    Raises:
        OSError: the disk refuses.
    """
    found = read_destination(directory)
    if found is not None:
        return found
    # A link, unlike a rename, fails where somebody else was faster.
    draft = directory.destination.with_name(f"destination.{os.getpid()}-{os.urandom(4).hex()}")
    write_atomically(draft, _encode(host))
    try:
        os.link(draft, directory.destination)
    except FileExistsError:
        found = read_destination(directory)
        if found is None:  # damaged: what cannot be read binds nobody
            os.replace(draft, directory.destination)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(directory.root)
    return found or normalised(host)


def replace_destination(directory: QueueDirectory, host: str) -> None:
    """Make the queue another server's; only with the leader lock held.

    Raises:
        OSError: the disk refuses.
    """
    write_atomically(directory.destination, _encode(host))


def check_destination(directory: QueueDirectory) -> None:
    """Refuse a directory whose events are for another server than ``directory.host``; nothing is left there.

    Raises:
        OtherDestination: they are.
        OSError: the disk refuses.
    """
    if directory.host is not None:
        found = read_destination(directory)
        if found not in (None, normalised(directory.host)):
            raise OtherDestination(other_destination(directory, str(found), directory.host))


def other_destination(directory: QueueDirectory, found: str, ours: str, reason: str = "") -> str:
    """Say what is wrong and what to do."""
    because = f" ({reason})" if reason else ""
    return (
        f"queue_dir {directory.root}: its events are for {found}, and this program is set to {normalised(ours)}"
        f"{because}. Give this program a queue directory of its own. Or, to move this queue to {normalised(ours)}: "
        f"drain it, stop what still uses {found}, and then it is taken over. To send what is in it to the new server "
        f"all the same, stop everything and delete {directory.destination}"
    )


def is_being_written(directory: QueueDirectory) -> bool:
    """Whether a process has a segment open to append to.

    Raises:
        OSError: the disk refuses.
    """
    return any(not _is_abandoned(directory, name) for name in directory.segments())


def _is_abandoned(directory: QueueDirectory, name: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(directory.journal / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return is_abandoned(descriptor)
        finally:
            os.close(descriptor)
    return True


def _encode(host: str) -> bytes:
    return json.dumps({"host": normalised(host)}).encode() + b"\n"
