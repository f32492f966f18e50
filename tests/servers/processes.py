"""Looking at processes from outside, through /proc: who lives, who is a zombie, and what they have open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Seen:
    """A process, as it was a moment ago."""

    pid: int
    parent: int
    session: int
    is_zombie: bool


def in_session(session: int) -> list[Seen]:
    """Return the processes of a session: a server that was started as a session's leader, and all it forked."""
    return [seen for seen in _all() if seen.session == session]


def living(session: int) -> set[int]:
    """Return the pids in a session that run."""
    return {seen.pid for seen in in_session(session) if not seen.is_zombie}


def children(parent: int) -> set[int]:
    """Return the pids of a process's children that run."""
    return {seen.pid for seen in _all() if seen.parent == parent and not seen.is_zombie}


def parent_of(pid: int) -> int:
    """Return the pid of a living process's parent."""
    return next(seen.parent for seen in _all() if seen.pid == pid)


def are_uploaders(pids: set[int]) -> set[int]:
    """Return those of the pids that are uploaders: the children that ``flusher="process"`` starts."""
    return {pid for pid in pids if b"\0lotus-durable uploader\0" in _command(pid)}


def connections(pids: set[int], port: int) -> dict[int, set[str]]:
    """Return, for each process that has any, its connections to a port on loopback (as names of sockets)."""
    sockets = _sockets_to(port)
    found = {pid: sockets & {target for _, target in _open_files(pid)} for pid in pids}
    return {pid: names for pid, names in found.items() if names}


def segments_open_for_writing(pid: int, journal: Path) -> set[str]:
    """Return the names of the segments that a process can append to."""
    prefix = f"{journal}/"
    return {
        target.removeprefix(prefix)
        for descriptor, target in _open_files(pid)
        if target.startswith(prefix) and _is_open_for_writing(pid, descriptor)
    }


def writer_of(segment: str) -> int:
    """Return the pid of the process that created a segment; its name tells."""
    return int(segment.split("-")[1])


def _all() -> Iterator[Seen]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path("/proc", name, "stat").read_text()
            except OSError:
                continue
            # The command's name, in brackets, may hold anything.
            state, parent, _group, session = text.rpartition(")")[2].split()[:4]
            yield Seen(int(name), int(parent), int(session), is_zombie=state in "ZX")


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _open_files(pid: int) -> Iterator[tuple[str, str]]:
    """Yield (descriptor, target) pairs; nothing for a process that is gone."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for descriptor in descriptors:
        try:
            yield descriptor, os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue


def _is_open_for_writing(pid: int, descriptor: str) -> bool:
    try:
        fields = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().split()
    except OSError:
        return False
    return int(fields[fields.index("flags:") + 1], 8) & os.O_ACCMODE != os.O_RDONLY


def _sockets_to(port: int) -> set[str]:
    sockets = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _local, remote, state, _, _, _, _, _, inode, *_ = line.split()
        if remote.endswith(f":{port:04X}") and state == ESTABLISHED:
            sockets.add(f"socket:[{inode}]")
    return sockets
