"""What the tests of delivery and of the client share: a queue directory, a server, clients on both, and an oracle."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from lotus_durable.client import Client
from lotus_durable.config import Config, Constants
from lotus_durable.errors import LotusError
from lotus_durable.flusher import locks
from lotus_durable.flusher.destination import AsConfigured
from lotus_durable.flusher.drain import DrainReport
from lotus_durable.flusher.life import Flusher
from lotus_durable.flusher.starting import Starting
from lotus_durable.flusher.stats import collect
from lotus_durable.flusher.surroundings import NETWORK_VARIABLES
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.identity import ensure_identity, fingerprint
from lotus_durable.queue.limit import QueueLimit
from lotus_durable.queue.protocol import StoredEvent, Table
from lotus_durable.queue.requests import ask
from lotus_durable.queue.stats import QueueStats
from lotus_durable.testing import FakeLotus, Faults, Status
from lotus_durable.testing.exchange import ReceivedRequest
from tests.pages import read_page
from tests.waiting import LIMIT as LIMIT  # noqa: PLC0414  # also for who imports it from here
from tests.waiting import wait_until as wait_until  # noqa: PLC0414

QUICK = Constants(
    first_pause=0.01,
    longest_pause=0.05,
    grace=0.05,
    probe_interval=0.05,
    parked_retry_interval=3600.0,
    idle_before_end=5.0,
    trusted_look=0.1,
    leaving_wait=0.15,
)
"""Every wait that is meant for a real server, shortened; the flusher process has it too."""

TRACK = "/api/track/"


def faults(**options: Any) -> Faults:
    """Return faults of the requests that bring events, and of none that asks the server who it is."""
    return Faults(path=TRACK, **options)


def answers_hashes() -> Faults:
    """Have a server say which ids it does not know as the newest sources do: by a hash of each, which nobody sent."""
    hashes = '{"status": "success", "ids_not_found": ["904c0cfb-0b1c-4b1c-8b1c-3a1c0b1c0b1c"]}'
    return Faults(path="/api/verify_idems_received/", rates={Status(200, hashes, "application/json"): 1.0})


def record(idempotency_id: str, **fields: Any) -> bytes:
    """Return a record as the queue keeps it, also one that ``track_event`` would never write."""
    event = {
        "customer_id": "c1",
        "event_name": "call",
        "time_created": now_text(),
        "properties": {},
        "accepted_at": time.time(),
        **fields,
    }
    packed: bytes = msgpack.packb([idempotency_id, *event.values()])
    return packed


def now_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def id_of(stored: bytes) -> str:
    return str(msgpack.unpackb(stored)[0])


class Rig:
    """One queue directory and one server; no client and no flusher of it outlives the test.

    Its clients do not start a flusher: ``drain()`` flushes in the test's own process, which is quick, and nothing
    happens before that. ``flusher="auto"`` makes one that does as users' clients do.
    """

    def __init__(self, server: FakeLotus, queue_dir: Path) -> None:
        self.server = server
        self.queue_dir = queue_dir
        self.directory = QueueDirectory(queue_dir)
        self.errors: list[tuple[LotusError, list[dict[str, Any]]]] = []
        self._clients: list[Client] = []

    def config(self, **options: Any) -> Config:
        """Return the options of a client; those of Constants are taken too."""
        constants = {name: options.pop(name) for name in Constants._fields if name in options}
        settings: dict[str, Any] = {
            "api_key": "test-key",
            "host": self.server.host,
            "queue_dir": self.queue_dir,
            "on_error": lambda error, events: self.errors.append((error, events)),
            "flush_interval": 0.02,
            "timeout": 5.0,
            "flusher": "external",
            **options,
        }
        return Config.resolve(settings)._replace(constants=QUICK._replace(**constants))

    def client(self, **options: Any) -> Client:
        client = Client.from_config(self.config(**options))
        self._clients.append(client)
        return client

    def flush_until(self, condition: Callable[[], object], **options: Any) -> None:
        """Flush as a flusher process does, but in this thread, until the condition holds."""
        deadline = time.monotonic() + LIMIT

        def ending() -> str | None:
            assert time.monotonic() < deadline, f"flushed {LIMIT:g} s for the condition"
            return "the condition holds" if condition() else None

        config = self.config(exit_timeout=0.0, **options)
        flusher = Flusher(lambda: config, kind="caller", ending=ending, destination=AsConfigured())
        self.directory.prepare()
        wait_until(flusher.lock.acquire, "the flusher's lock")
        flusher.run()

    def put(self, *records: bytes) -> list[str]:
        """Write records into the journal past all validation, as by a process that is gone; return their ids."""
        self.write(*records)
        return [id_of(each) for each in records]

    def write(self, *records: bytes) -> None:
        """Write what may be no record."""
        self.directory.prepare()
        way = Appender(
            self.directory,
            QueueLimit(self.directory, 1 << 30),
            key=fingerprint("test-key"),
            identify=lambda: ensure_identity(self.directory),
            power=False,
            report=lambda _: None,
            sealed={},
        )
        for each in records:
            way.append(each, time.monotonic())
        way.close()

    def stored(self, table: Table) -> list[StoredEvent]:
        return read_page(self.directory.books, table, 0, 1 << 30)

    def ids(self, table: Table) -> set[str]:
        return {id_of(event.record) for event in self.stored(table) if event.record}

    def pending_ids(self) -> set[str]:
        """Read the journal as the next flusher would; only when nobody flushes."""
        with contextlib.closing(Consumer(self.directory, lambda _: None)) as consumer:
            found: set[str] = set()
            while (chunk := consumer.read(1000)) is not None:
                found.update(id_of(each) for each in chunk.records)
        return found

    def stats(self) -> QueueStats:
        return collect(self.directory)

    @property
    def posts(self) -> list[ReceivedRequest]:
        """The requests that brought events: a flusher first asks the server who it is."""
        return [each for each in self.server.requests if each.path == TRACK]

    def batches(self) -> list[list[str]]:
        """Return the ids in each of these requests whose body was read."""
        return [[event["idempotency_id"] for event in each.json()["batch"]] for each in self.posts if each.body]

    def wait_for_posts(self, count: int) -> None:
        self.server.wait_until(lambda: len(self.posts) >= count, LIMIT, what=f"{count} requests with events")

    def messages(self) -> list[str]:
        return [f"{type(error).__name__}: {error}" for error, _ in self.errors]

    def is_flushed(self) -> bool:
        """Whether somebody holds the flusher's lock."""
        return bool(locks.is_held(self.directory.flusher_lock))

    def stop(self) -> None:
        """Let go of all clients, and end the flusher."""
        while self._clients:
            self._clients.pop().release()
        wait_until(lambda: not Starting(self.directory).is_starting(), "a flusher that is on its way")
        if self.is_flushed():
            with contextlib.suppress(OSError):
                ask(self.directory, "stop")
            wait_until(lambda: not self.is_flushed(), "the flusher to end")

    def check(self, ids: list[str], *, claimed: tuple[str, ...] = ()) -> QueueStats:
        """End all clients; every event must be somewhere, and every count must be what the server and the books say.

        Args:
            ids: what was accepted.
            claimed: what the server said it has, but has not.
        """
        self.stop()
        stats = self.stats()
        assert conserved(stats), stats
        pending = self.pending_ids()
        parked, dead = self.ids("parked"), self.ids("dead")
        delivered = {*self.server.times_received, *claimed}
        assert set(ids) <= delivered | pending | parked | dead, "an event is lost"
        assert not parked & dead
        assert (stats.pending, stats.parked, stats.dead_lettered) == (
            len(pending),
            len(self.stored("parked")),
            len(self.stored("dead")),
        )
        assert stats.accepted == len(ids)
        return stats


def conserved(stats: QueueStats) -> bool:
    return stats.accepted == sum(
        (
            stats.delivered,
            stats.handed_over,
            stats.pending,
            stats.parked,
            stats.dead_lettered,
            stats.discarded,
        ),
    )


def track(client: Client, count: int, **fields: Any) -> list[str]:
    return [client.track_event(**{"customer_id": "c1", "event_name": "call", **fields}) for _ in range(count)]


def drained_until_told(client: Client, why: str) -> DrainReport:
    """Drain with more and more patience until the report says why it is not done; each begins anew in this process."""
    patience = 0.3
    while why not in ((report := client.drain(patience)).reason or ""):
        assert patience < LIMIT, report
        patience *= 2
    assert f"not done within {patience:.3g} seconds" in (report.reason or "")
    assert not report.complete
    return report


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the folders whose conftest imports it."""
    for name in os.environ:
        if name.startswith("LOTUS_") or name in (*NETWORK_VARIABLES, "NETRC"):
            monkeypatch.delenv(name)


@pytest.fixture
def rigs(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Return a function that takes the arguments of FakeLotus and gives a rig; all are stopped after the test."""
    with contextlib.ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Rig:
            server = stack.enter_context(FakeLotus(*arguments, **{"faults": faults(), **options}))
            rig = Rig(server, tmp_path / f"queue{server.port}")
            stack.callback(rig.stop)
            return rig

        yield make


@pytest.fixture
def rig(rigs: Callable[..., Rig]) -> Rig:
    """A rig with a server of 2024."""
    return rigs()
