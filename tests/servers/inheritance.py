"""What no process may keep of its parent."""

from __future__ import annotations

from .processes import connections, segments_open_for_writing, writer_of
from .running import Running
from .site import Site
from .waiting import wait_until


def wait_until_nothing_is_inherited(site: Site, server: Running) -> None:
    """Wait until every process has let go of what it inherited; a child has it until it comes to run."""
    try:
        wait_until(lambda: not _inherited(site, server), "no process keeps what is its parent's", timeout=10)
    except AssertionError as error:
        raise AssertionError(f"{error}; open: {_inherited(site, server)}, the leader: {site.leader()}") from None


def _inherited(site: Site, server: Running) -> dict[int, set[str]]:
    """Return, by process, what belongs to another and is open here: segments to append to, connections to Lotus."""
    pids = server.processes()
    journal = site.queue_dir / "journal"
    found = {pid: {name for name in segments_open_for_writing(pid, journal) if writer_of(name) != pid} for pid in pids}
    leader = site.leader()
    for pid, sockets in connections(pids - {leader or 0}, site.lotus_port).items():
        found[pid] |= sockets
    return {pid: names for pid, names in found.items() if names}
