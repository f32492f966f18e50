"""One deployment under test: a Lotus server, a queue directory, a ledger, and the settings that name them."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lotus_durable import Client
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.testing import FakeLotusProcess

from .apps.tracking import LEDGER

REPOSITORY = Path(__file__).parents[2]
"""Where servers are started, so that they find the applications."""


@dataclass(frozen=True, slots=True)
class Site:
    """Everything a server needs to know; all of it inside ``root``."""

    root: Path
    lotus: FakeLotusProcess

    @property
    def queue_dir(self) -> Path:
        return self.root / "queue"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def scratch(self) -> Path:
        """Home and temporary files of the servers, so that they leave nothing elsewhere."""
        return self.root / "scratch"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def lotus_port(self) -> int:
        port = urlsplit(self.lotus.host).port
        assert port is not None
        return port

    def prepare(self) -> None:
        """Make the folders."""
        self.ledger.mkdir()
        self.ledger.chmod(0o777)  # servers may be run by other users
        self.scratch.mkdir()

    def environment(self) -> dict[str, str]:
        """Return the environment of a server."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LOTUS_", "TEST_"))}
        scratch = str(self.scratch)
        return {
            **inherited,
            "LOTUS_API_KEY": self.lotus.api_key,
            "LOTUS_HOST": self.lotus.host,
            "LOTUS_QUEUE_DIR": str(self.queue_dir),
            LEDGER: str(self.ledger),
            "HOME": scratch,
            "TMPDIR": scratch,
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{Path(sys.executable).parent}:{inherited.get('PATH', os.defpath)}",
        }

    def client(self) -> Client:
        """Return a client on the same queue, as a deploy hook would make one."""
        return Client(api_key=self.lotus.api_key, host=self.lotus.host, queue_dir=self.queue_dir)

    def leader(self) -> int | None:
        """Return the pid of the process that uploads, by its heartbeat."""
        heartbeat = read_heartbeat(QueueDirectory(self.queue_dir))
        return None if heartbeat is None else heartbeat.pid


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
