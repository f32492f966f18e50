"""Processes as the system shows them: through /proc."""

from __future__ import annotations

import os
from pathlib import Path

BOOT = b"/flusher/boot.py\0"


def flushers_under(folder: Path) -> set[int]:
    """Return the flushers that live, of all queues in a folder, whoever started them."""
    place = os.fsencode(folder)
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        _, boot, rest = _read(path).partition(BOOT)
        queue = rest.rstrip(b"\0").rpartition(b"\0")[2]
        if boot and (queue == place or queue.startswith(place + b"/")) and state_of(int(path.parent.name)) != "Z":
            found.add(int(path.parent.name))
    return found


def state_of(pid: int) -> str:
    """Return ``R``, ``S``, ``T`` (stopped), ``Z`` (ended and not reaped); empty when there is no such process."""
    fields = _status(pid)
    return fields[0].decode() if fields else ""


def parent_of(pid: int) -> int:
    fields = _status(pid)
    return int(fields[1]) if fields else 0


def session_of(pid: int) -> int:
    fields = _status(pid)
    return int(fields[3]) if fields else 0


def ended(pid: int) -> bool:
    return state_of(pid) in ("", "Z")


def zombies_of(parent: int) -> set[int]:
    """Return the children that ended and were not reaped."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if state_of(pid) == "Z" and parent_of(pid) == parent:
            found.add(pid)
    return found


def _status(pid: int) -> list[bytes]:
    return _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
