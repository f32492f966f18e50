"""Which API keys have been used for a queue, and which the server refused lately: by fingerprint, never the keys.

So that a new key is logged once by whichever process is first, and so that among processes with an old and a new key
(a rolling deploy) those whose key is refused give way. What is here only helps to decide that: if the file is lost, or
two processes write it at once, a line is logged twice or the leader changes once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from .directory import QueueDirectory, write_atomically

_REMEMBERED = 20
"""Keys."""
_FINGERPRINT_SIZE = 16
"""Hexadecimal digits: enough to tell a few keys apart."""


@dataclass(frozen=True, slots=True)
class _Keys:
    salt: str
    seen: tuple[str, ...] = ()
    refused: Mapping[str, float] = field(default_factory=dict)
    """When each was last refused, seconds since the epoch."""


def fingerprint(directory: QueueDirectory, api_key: str) -> str | None:
    """Return what stands for a key in this queue, None before :func:`note_key`."""
    keys = _read(directory)
    return None if keys is None else _fingerprint(keys.salt, api_key)


def note_key(directory: QueueDirectory, api_key: str) -> bool:
    """Remember a key; return whether it is another one than was ever used for this queue.

    Raises:
        OSError: the disk refuses.
    """
    keys = _read(directory) or _Keys(os.urandom(16).hex())
    ours = _fingerprint(keys.salt, api_key)
    if ours in keys.seen:
        return False
    _write(directory, replace(keys, seen=(*keys.seen, ours)[-_REMEMBERED:]))
    return bool(keys.seen)


def note_refusal(directory: QueueDirectory, api_key: str, *, refused: bool) -> None:
    """Remember that the server refuses a key now, or that it does no longer; a disk that refuses changes nothing."""
    keys = _read(directory)
    if keys is None:
        return
    ours = _fingerprint(keys.salt, api_key)
    others = {key: moment for key, moment in keys.refused.items() if key != ours}
    if refused:
        changed: Mapping[str, float] = dict([*others.items(), (ours, time.time())][-_REMEMBERED:])
    else:
        changed = others
    if changed != keys.refused:
        with contextlib.suppress(OSError):
            _write(directory, replace(keys, refused=changed))


def was_refused(directory: QueueDirectory, api_key: str, *, within: float) -> bool:
    """Whether the server refused a key in the last ``within`` seconds, through whichever process."""
    keys = _read(directory)
    if keys is None:
        return False
    moment = keys.refused.get(_fingerprint(keys.salt, api_key))
    # In the future: the clock was set back, and the server may be asked again.
    return moment is not None and 0 <= time.time() - moment < within


def challenge(directory: QueueDirectory) -> None:
    """Ask the leader, whose key is refused, to let a process with another one try.

    Raises:
        OSError: the disk refuses.
    """
    os.close(os.open(directory.challenge, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def accept_challenge(directory: QueueDirectory) -> bool:
    """Return whether there is a challenge, and remove it: it is for one change of the leader."""
    try:
        os.unlink(directory.challenge)
    except OSError:
        return False
    return True


def _fingerprint(salt: str, api_key: str) -> str:
    import hashlib

    # Salted, so that it cannot be looked up, and short; a key is random and long, so it cannot be guessed either.
    return hashlib.sha256(f"{salt}:{api_key}".encode()).hexdigest()[:_FINGERPRINT_SIZE]


def _read(directory: QueueDirectory) -> _Keys | None:
    try:
        found = json.loads(directory.keys.read_bytes())
        refused = {str(key): float(moment) for key, moment in found["refused"].items()}
        return _Keys(str(found["salt"]), tuple(map(str, found["seen"])), refused)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(directory: QueueDirectory, keys: _Keys) -> None:
    write_atomically(directory.keys, json.dumps(asdict(keys)).encode() + b"\n", durable=False)
