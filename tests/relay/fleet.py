"""A fleet in small: hosts and relays of one broker, and the server behind them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import amqp

from lotus_durable.client import Client
from lotus_durable.config import Config, Constants
from lotus_durable.flusher.destination import AsConfigured
from lotus_durable.flusher.life import Flusher
from lotus_durable.flusher.stats import collect
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import StoredEvent, Table
from lotus_durable.queue.stats import QueueStats
from lotus_durable.relay.address import Address, address_of
from lotus_durable.relay.receiving import Receiving
from lotus_durable.testing import FakeLotus
from tests.pages import read_page
from tests.rig import QUICK, wait_until

from .broker import Cluster

PATIENCE = 60.0
"""Seconds after which a test that waits fails; a broker on a busy machine takes its time."""


class Relay:
    """A relay in a thread of this process, or in a process of its own."""

    def __init__(self, fleet: Fleet, name: str, options: dict[str, Any]) -> None:
        self.queue_dir = fleet.folder / name
        self.directory = QueueDirectory(self.queue_dir)
        self._fleet = fleet
        self._options = options
        self._why: str | None = None
        self._thread: threading.Thread | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Relay:
        config = self._fleet.config(self.queue_dir, **{"flush_interval": 0.02, **self._options})
        flusher = Flusher(
            lambda: config, kind="external", ending=lambda: self._why, destination=Receiving(AsConfigured())
        )
        flusher.directory.prepare()
        wait_until(flusher.lock.acquire, "the relay's lock")
        self._why = None
        self._thread = threading.Thread(target=flusher.run, name=self.queue_dir.name)
        self._thread.start()
        return self

    def start_process(self) -> Relay:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")},
            "LOTUS_RELAY_URL": self._fleet.broker.url(self._fleet.queue),
            "LOTUS_API_KEY": "test-key",
            "LOTUS_HOST": self._fleet.lotus.host,
            "LOTUS_QUEUE_DIR": str(self.queue_dir),
            "LOTUS_TIMEOUT": "5,3",
            "LOTUS_EXIT_TIMEOUT": "0",
            **{f"LOTUS_{name.upper()}": str(value) for name, value in self._options.items()},
        }
        self.queue_dir.mkdir(mode=0o700, exist_ok=True)
        with (self.queue_dir.parent / f"{self.queue_dir.name}.log").open("ab") as log:
            command = [sys.executable, "-m", "lotus_durable", "relay"]
            self.process = subprocess.Popen(command, env=environment, stderr=log)
        return self

    def stop(self) -> None:
        self._why = "the test is over"
        if self._thread is not None:
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive(), "the relay does not end"
            self._thread = None
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
            self.process = None

    def stats(self) -> QueueStats:
        return collect(self.directory)

    def state(self) -> tuple[str, str | None]:
        """Return what it is doing, and why."""
        flusher = self.stats().flusher
        return ("", None) if flusher is None else (flusher.state, flusher.reason)

    def stands_by(self) -> bool:
        return "stands by" in (self.state()[1] or "")

    def stored(self, table: Table) -> list[StoredEvent]:
        return read_page(self.directory.books, table, 0, 1 << 30)


class Fleet:
    """Hosts, relays and a server for one queue of a broker; a context manager that ends all it has started."""

    def __init__(self, folder: Path, broker: Cluster, queue: str, lotus: FakeLotus) -> None:
        self.folder = folder
        self.broker = broker
        self.queue = queue
        self.lotus = lotus
        self._clients: list[Client] = []
        self._relays: list[Relay] = []

    def config(self, queue_dir: Path, **options: Any) -> Config:
        constants = {name: options.pop(name) for name in Constants._fields if name in options}
        settings = {
            "queue_dir": queue_dir,
            "relay_url": self.broker.url(self.queue),
            "api_key": "test-key",
            "host": self.lotus.host,
            "flusher": "external",
            "on_error": lambda *_: None,
            "timeout": (5.0, 2.0),
            **options,
        }
        return Config.resolve(settings)._replace(constants=QUICK._replace(**constants))

    def host(self, name: str = "host", **options: Any) -> Client:
        """Return a client of a host; it does not start a flusher, but hands over in drain()."""
        self._clients.append(Client.from_config(self.config(self.folder / name, **options)))
        return self._clients[-1]

    def relay(self, name: str = "relay", **options: Any) -> Relay:
        self._relays.append(Relay(self, name, options))
        return self._relays[-1]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        wait_until(condition, what, PATIENCE)

    def wait_until_stored(self, ids: list[str]) -> None:
        """Wait until the server's database has these events."""
        self.wait_for(lambda: self.lotus.event_count >= len(ids), f"{len(ids)} events")
        assert set(ids) <= self.lotus.database, f"{len(set(ids) - self.lotus.database)} events are lost"

    @property
    def address(self) -> Address:
        return address_of(self.broker.url(self.queue))

    def declare(self, arguments: dict[str, Any]) -> None:
        """Make the queue otherwise than a host would."""
        address = self.address
        with amqp.Connection(str(address.nodes[0]), address.user, address.password) as connection:
            connection.channel().queue_declare(address.queue, durable=True, auto_delete=False, arguments=arguments)

    def publish(self, *bodies: bytes, **properties: Any) -> None:
        """Publish what nobody of ours would."""
        address = self.address
        with amqp.Connection(str(address.nodes[0]), address.user, address.password, confirm_publish=True) as connection:
            channel = connection.channel()
            for body in bodies:
                channel.basic_publish(amqp.Message(body, delivery_mode=2, **properties), "", address.queue)

    def count_messages(self) -> int:
        """Return how many messages the broker has, held ones too: as it counted them some seconds ago."""
        rows = self.broker.running().ctl("list_queues", "--no-table-headers", "name", "messages").splitlines()
        return int(dict(row.split("\t") for row in rows)[self.queue])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.release()
        for relay in self._relays:
            relay.stop()
