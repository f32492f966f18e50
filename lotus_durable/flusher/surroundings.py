"""Which program this is, and where it runs. That decides who may end a flusher, and for whom it makes way."""

from __future__ import annotations

import os
from zlib import crc32

from lotus_durable._version import __version__
from lotus_durable.config import Config
from lotus_durable.disk import DiskErrorsSuppressed
from lotus_durable.queue.heartbeat import Program
from lotus_durable.queue.identity import fingerprint
from lotus_durable.values import NamedTuple

COMMAND = "lotus-flusher"
"""The name of a flusher's process, from its first instruction to when it is reaped."""

last_groups: list[int] = []
"""The process group of the last start of this process: what ends before it has that name is known by it."""

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

NETWORK_VARIABLES = (
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
"""What requests reads from the environment, and OpenSSL."""

_START_TIME = 19
"""Of the fields of ``/proc/<pid>/stat`` after the name: when the process began, in clock ticks since boot."""
_STATE, _PARENT, _GROUP = range(3)
_MOST_ANCESTORS = 64


class ProcessStatus(NamedTuple):
    """What the system says of a process."""

    state: str
    """``Z``: it has ended and is not reaped; ``T``: stopped."""
    parent: int
    start_time: int
    """Clock ticks since boot."""
    name: str
    group: int


def process_status(pid: int | str) -> ProcessStatus | None:
    """Return the status of a process; None when there is none (or this system does not tell)."""
    try:
        data = content_of(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    end = data.rindex(b")")
    name = data[data.index(b"(") + 1 : end].decode(errors="replace")
    fields = data[end + 2 :].split()
    return ProcessStatus(
        fields[_STATE].decode(), int(fields[_PARENT]), int(fields[_START_TIME]), name, int(fields[_GROUP])
    )


def content_of(file: str) -> bytes:
    """Return what a small file holds, one of the kernel's for example.

    Raises:
        OSError: there is no such file, or it is not to be read.
    """
    with open(file, "rb", buffering=0) as opened:
        return opened.readall()


def pid_namespace() -> int:
    """Return what names the namespace in which our process numbers mean something; 0 where there is one only."""
    return _namespace("pid")


def program_began() -> float:
    """Return when this program was started, in seconds since boot: of a forked process, when the first of them was.

    The kernel gives each program that is started other addresses, and a forked process has those of its parent: as
    long as a parent has ours it runs the same program. A worker that is recycled is therefore as old as its master.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    own, pid = _addresses("self"), os.getpid()
    status = process_status("self")
    if status is None:
        return 0.0
    for _ in range(_MOST_ANCESTORS):
        parent = status.parent
        above = process_status(parent) if parent > 0 else None
        if own is None or above is None or parent == pid or _addresses(parent) != own:
            break
        status = above
    return status.start_time / ticks


def _addresses(pid: int | str) -> bytes | None:
    try:
        return content_of(f"/proc/{pid}/auxv")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def this_program(config: Config, began: float | None = None) -> Program:
    """Return what this process would flush with, or one that another program started, which began then."""
    settings = (
        config.host,
        config.relay_url,
        config.timeout,
        config.upload_concurrency,
        config.max_events_per_second,
        config.max_batch_events,
        config.flush_interval,
        config.api_version,
        network_environment(),
    )
    return Program(
        version=__version__,
        package=PACKAGE,
        settings=_digest(repr(settings)),
        key=fingerprint(config.api_key),
        surroundings=_digest(repr((_namespace("net"), _cgroup(), network_environment()))),
        began=program_began() if began is None else began,
    )


def network_environment() -> dict[str, str]:
    """Return what of the environment decides how the server is reached."""
    return {name: os.environ[name] for name in NETWORK_VARIABLES if os.environ.get(name)}


def version_order(version: str) -> tuple[int, ...]:
    """Return what versions are compared by: their numbers."""
    digits = "".join(each if each in "0123456789" else " " for each in version)
    return tuple(map(int, digits.split()))


def _namespace(kind: str) -> int:
    with DiskErrorsSuppressed():
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    return 0


def _cgroup() -> str:
    with DiskErrorsSuppressed():
        return content_of("/proc/self/cgroup").decode(errors="replace")
    return ""


def _digest(text: str) -> bytes:
    return b"%08x" % crc32(text.encode())  # compared with what such a program said, never with an adversary's
