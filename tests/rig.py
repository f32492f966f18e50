"""What the tests of delivery and of the client share: a queue directory, a server, clients on both, and an oracle."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import pytest

from lotus_durable.client import Client
from lotus_durable.config import Config
from lotus_durable.delivery import candidate, desk, drain
from lotus_durable.errors import LotusError
from lotus_durable.http.backoff import Backoff
from lotus_durable.queue.books import Store, StoredEvent, Table
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.stats import QueueStats
from lotus_durable.testing import FakeLotus
from lotus_durable.tracker import open_queue

LIMIT = 20.0
"""Seconds after which a test that waits fails."""

_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], what: str = "the condition", timeout: float = LIMIT) -> _T:
    """Return what the condition gives as soon as that is true."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(0.005)
    return result


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every wait that is meant for a real server; children forked afterwards have it too."""
    defaults = Backoff.__init__.__kwdefaults__
    assert defaults is not None
    for name, seconds in (("base", 0.01), ("cap", 0.05), ("grace", 0.05)):
        monkeypatch.setitem(defaults, name, seconds)
    monkeypatch.setattr(candidate, "_POLL_INTERVAL", 0.05)
    monkeypatch.setattr(desk, "_LOOK_INTERVAL", 0.01)
    monkeypatch.setattr(drain, "_LOOK_INTERVAL", 0.005)


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
    """One queue directory and one server; all its clients are released after the test."""

    def __init__(self, server: FakeLotus, queue_dir: Path) -> None:
        self.server = server
        self.queue_dir = queue_dir
        self.directory = QueueDirectory(queue_dir)
        self.errors: list[tuple[LotusError, list[dict[str, Any]]]] = []
        self._clients: list[Client] = []

    def client(self, **options: Any) -> Client:
        settings: dict[str, Any] = {
            "api_key": "test-key",
            "host": self.server.host,
            "queue_dir": self.queue_dir,
            "on_error": lambda error, events: self.errors.append((error, events)),
            "flush_interval": 0.02,
            "probe_interval": 0.05,
            "parked_retry_interval": 3600.0,
            "timeout": 5.0,
            **options,
        }
        client = Client(**settings)
        self._clients.append(client)
        return client

    def put(self, *records: bytes) -> list[str]:
        """Write records into the journal past all validation, as by a process that is gone."""
        queue = open_queue(Config.resolve({"queue_dir": self.queue_dir}), lambda _: None)
        self.directory.prepare()
        for each in records:
            queue.append(each)
        queue.close()
        return [id_of(each) for each in records]

    def stored(self, table: Table) -> list[StoredEvent]:
        return Store(self.directory.store).page(table, 0, 1 << 60, 1 << 30)

    def ids(self, table: Table) -> set[str]:
        return {id_of(event.record) for event in self.stored(table) if event.record}

    def pending_ids(self) -> set[str]:
        """Read the journal as the next leader would; only when nobody leads."""
        queue = open_queue(Config.resolve({"queue_dir": self.queue_dir}), lambda _: None)
        with contextlib.closing(queue.consumer()) as consumer:
            found: set[str] = set()
            while (chunk := consumer.read(1000)) is not None:
                found.update(id_of(each) for each in chunk.records)
        queue.close()
        return found

    def stats(self) -> QueueStats:
        client = Client(queue_dir=self.queue_dir)
        try:
            return client.stats()
        finally:
            client.release()

    def messages(self) -> list[str]:
        return [f"{type(error).__name__}: {error}" for error, _ in self.errors]

    def stop(self) -> None:
        while self._clients:
            self._clients.pop().release(LIMIT)

    def check(self, ids: list[str], *, claimed: tuple[str, ...] = ()) -> QueueStats:
        """End all clients; every event must be somewhere, and every count must be what the server and the store say.

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


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "lotus_durable" in thread.name]


def conserved(stats: QueueStats) -> bool:
    return stats.accepted == sum(
        (stats.delivered, stats.pending, stats.parked, stats.dead_lettered, stats.discarded),
    )


def track(client: Client, count: int, **fields: Any) -> list[str]:
    return [client.track_event(**{"customer_id": "c1", "event_name": "call", **fields}) for _ in range(count)]


@pytest.fixture
def rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """Return a function that takes the arguments of FakeLotus and gives a rig; all are stopped after the test."""
    make_quick(monkeypatch)
    with contextlib.ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Rig:
            server = stack.enter_context(FakeLotus(*arguments, **options))
            rig = Rig(server, tmp_path / f"queue{server.port}")
            stack.callback(rig.stop)
            return rig

        yield make
    wait_until(lambda: not our_threads(), "all threads of the library to end")


@pytest.fixture
def rig(rigs: Callable[..., Rig]) -> Rig:
    """A rig with a server of 2024."""
    return rigs()
