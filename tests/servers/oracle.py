"""The oracle: what the applications wrote down, against what the Lotus server holds. Not our own bookkeeping."""

from __future__ import annotations

from dataclasses import dataclass

from lotus_durable import DrainReport, QueueStats
from lotus_durable.queue.census import take_census
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat

from .apps.ledger import Entries, read_ledger
from .site import Site
from .waiting import wait_until

_DRAIN_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """All there is to know after a run, when no application lives any more and the queue was drained."""

    entries: Entries
    at_server: dict[str, int]
    """How often each id was received."""
    drained: DrainReport
    stats: QueueStats

    @property
    def lost(self) -> set[str]:
        """Ids that a call returned and that are not at the server."""
        return self.entries.missing_in(self.at_server)

    @property
    def collided(self) -> set[str]:
        """Ids that more than one call returned."""
        return self.entries.collided()

    @property
    def never_tracked(self) -> int:
        """How many ids at the server no call can have made."""
        return self.entries.never_tracked_in(self.at_server)

    @property
    def sent_again(self) -> int:
        """How many events the server dropped as duplicates: in flight when a leader was killed."""
        return sum(self.at_server.values()) - len(self.at_server)

    def check(self) -> None:
        """Hold it against the promise.

        Raises:
            AssertionError: the promise is broken.
        """
        stats = self.stats
        assert not self.lost, f"{len(self.lost)} of {len(self.entries.returned)} events are lost: {self}"
        assert not self.collided, f"calls returned the same id: {self.collided}"
        assert self.never_tracked == 0, f"the server has events that nobody tracked: {self}"
        assert self.drained.complete, f"not everything could be delivered: {self.drained}"
        assert stats.accepted == (
            stats.delivered + stats.pending + stats.parked + stats.dead_lettered + stats.discarded
        ), f"conservation does not hold: {stats}"
        # This server refuses nothing, so nothing may be anywhere but there.
        assert stats.delivered == len(self.at_server), f"{len(self.at_server)} events at the server, but {stats}"
        assert stats.accepted == stats.delivered, f"not everything is delivered: {stats}"

    def __str__(self) -> str:
        return (
            f"{len(self.entries.returned)} returned, {len(self.at_server)} at the server, {len(self.lost)} lost, "
            f"{self.never_tracked} never tracked, {self.sent_again} sent again; {self.stats}"
        )


def judge(site: Site) -> Verdict:
    """Drain the queue, when everybody else is gone, and return what became of every event."""
    with site.client() as client:
        drained = client.drain(_DRAIN_TIMEOUT)
        stats = client.stats()
    return Verdict(read_ledger(site.ledger), site.lotus.ids(), drained, stats)


def wait_until_everything_arrived(site: Site) -> None:
    """Wait until every event that a call has returned by now is at the server, without anybody's drain.

    Raises:
        AssertionError: they do not come; says what there is on disk.
    """
    try:
        wait_until(lambda: has_everything(site), "every event is at the server")
    except AssertionError as error:
        directory = QueueDirectory(site.queue_dir)
        missing = set(read_ledger(site.ledger).returned) - set(site.lotus.ids())
        raise AssertionError(
            f"{error}: {len(missing)} are not; {take_census(directory)}; segments {directory.segments()}; "
            f"{read_heartbeat(directory)}"
        ) from None


def has_everything(site: Site) -> bool:
    """Whether every event that a call has returned by now is at the server, without anybody's drain."""
    return set(read_ledger(site.ledger).returned) <= set(site.lotus.ids())
