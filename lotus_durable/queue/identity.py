"""Which queue this is: a small file that is written once and never again.

::

    lotus-durable queue
    format 1
    id 0123456789abcdef0123456789abcdef
    application /srv/app/venv

``format`` is that of everything in the directory. A program that finds a later one than its own leaves all of it alone.
``id`` is 16 random bytes, for people, later versions and relays: no file here depends on it. So a queue whose identity
was lost or restored from a backup, or into which somebody moves segments of another queue, knows whose its events are.
``application`` is whose first event made the queue, in ASCII with escapes; the line may be missing.
"""

from __future__ import annotations

import errno
import os

from lotus_durable.errors import QueueDamaged
from lotus_durable.values import NamedTuple

from .directory import QueueDirectory
from .files import create_atomically, opened_to_read

try:  # hashlib would load OpenSSL into a process that only tracks
    from _blake2 import blake2b
except ImportError:  # pragma: no cover  # another Python than CPython
    from hashlib import blake2b

FORMAT = 1
QUEUE_ID_SIZE = 16
FINGERPRINT_SIZE = 8
NO_KEY = bytes(FINGERPRINT_SIZE)
"""The fingerprint of no key at all."""

_PERSON = b"lotus-durable"
"""So that it is not the digest that another program makes of the key."""
_FIRST_LINE = "lotus-durable queue"
_MOST_BYTES = 4096


class LaterFormat(QueueDamaged):
    """A later version of this package has written the queue; nothing was changed."""


class Identity(NamedTuple):
    """What a queue is."""

    format: int
    queue_id: bytes
    application: str = ""

    def encode(self) -> bytes:
        """Return what the file holds."""
        application = f"application {self.application}\n" if self.application else ""
        return f"{_FIRST_LINE}\nformat {self.format}\nid {self.queue_id.hex()}\n{application}".encode()


def ensure_identity(directory: QueueDirectory, application: str = "") -> Identity:
    """Return the identity of the queue, after making it (the application's, in printable ASCII) if there is none.

    It is the same for all who do this at once.

    Raises:
        LaterFormat: (a QueueDamaged) a later version made the queue.
        QueueDamaged: the file cannot be read.
        OSError: the disk refuses (also when the directory does not exist).
    """
    identity = read_identity(directory)
    while identity is None:
        create_atomically(directory.identity, Identity(FORMAT, os.urandom(QUEUE_ID_SIZE), application).encode())
        identity = read_identity(directory)
    return identity


def read_identity(directory: QueueDirectory) -> Identity | None:
    """Return the identity of the queue, None when it has none (yet).

    Raises:
        LaterFormat: (a QueueDamaged) a later version made the queue.
        QueueDamaged: the file cannot be read.
        OSError: the disk refuses.
    """
    data = b""
    try:
        with opened_to_read(directory.identity) as descriptor:
            data = os.read(descriptor, _MOST_BYTES)
    except FileNotFoundError:
        return None
    except (IsADirectoryError, BlockingIOError):
        pass  # it is no file, and so no identity
    except OSError as error:
        if error.errno != errno.ELOOP:  # nor is a link
            raise
    identity = _decode(data)
    if identity is None:
        raise QueueDamaged(
            f"{directory.identity} cannot be read; restore it from a backup, or delete it: a new one is made then"
        )
    if identity.format > FORMAT:
        raise LaterFormat(
            f"the queue in {directory.root} has format {identity.format}, this program knows format {FORMAT}: "
            "use a newer version of lotus-durable; nothing was changed"
        )
    return identity


def _decode(data: bytes) -> Identity | None:
    # A later format may have more lines, and another kind of id.
    try:
        first, *lines = data.decode("ascii").splitlines()
        fields = dict(line.split(" ", 1) for line in lines)
        number = int(fields["format"])
        queue_id = bytes.fromhex(fields["id"]) if number <= FORMAT else b""
    except (ValueError, KeyError):
        return None
    is_whole = first == _FIRST_LINE and number > 0 and (number > FORMAT or len(queue_id) == QUEUE_ID_SIZE)
    return Identity(number, queue_id, fields.get("application", "")) if is_whole else None


def split_keys(fingerprints: bytes) -> set[bytes]:
    """Return fingerprints that were written one after the other."""
    return {fingerprints[start : start + FINGERPRINT_SIZE] for start in range(0, len(fingerprints), FINGERPRINT_SIZE)}


def fingerprint(api_key: str | None) -> bytes:
    """Return what tells this key from another one, and tells nothing else about it.

    It is the same in every queue: were it not, an event that is written while somebody exchanges two directories could
    come to lie in one queue with the fingerprint that its key has in the other, and be held back as another key's.
    """
    if not api_key:
        return NO_KEY
    return blake2b(api_key.encode(), digest_size=FINGERPRINT_SIZE, person=_PERSON).digest()
