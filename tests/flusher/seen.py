"""The uploader process as others see it: by the leader's heartbeat, and through /proc."""

from __future__ import annotations

from pathlib import Path

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat
from tests.rig import wait_until


def leader(queue_dir: Path) -> int | None:
    """Return the pid of the process that says it leads."""
    heartbeat = read_heartbeat(QueueDirectory(queue_dir))
    return None if heartbeat is None else heartbeat.pid


def wait_for_uploader(queue_dir: Path, other_than: int = 0) -> int:
    """Wait until another uploader leads, and return its pid."""

    def found() -> int:
        pid = leader(queue_dir)
        return pid if pid is not None and pid != other_than and pid in uploaders(queue_dir) else 0

    return wait_until(found, "an uploader that leads")


def uploaders(queue_dir: Path) -> set[int]:
    """Return the pids of all uploaders of a queue that live, whoever started them."""
    ends = f"\0lotus-durable uploader\0{queue_dir}\0".encode()
    return {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if _read(path).endswith(ends)}


def zombies_of(parent: int) -> set[int]:
    """Return the pids of children that ended and were not fetched."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = _read(path).rpartition(b")")[2].split()[:2]
        if fields[:1] == [b"Z"] and int(fields[1]) == parent:
            found.add(int(path.parent.name))
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
