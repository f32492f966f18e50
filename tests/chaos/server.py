"""The server of a run, in a process of its own: a FakeLotus that also writes down when it worked on which request."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotus_durable.testing import FakeLotusProcess, listener
from lotus_durable.testing import __main__ as program
from lotus_durable.testing.exchange import Reply
from lotus_durable.testing.listener import Connection

from .plan import REPOSITORY

_PROGRAM = (
    f"import sys; sys.path.insert(0, {os.fspath(REPOSITORY)!r}); import tests.chaos.server as it; sys.exit(it.main())"
)
_PROBE = 20
"""Bytes: shorter bodies are the empty batches of a probe, which holds no events, but is a request all the same."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request to where events go."""

    began: float
    """When its head was there (monotonic, the same clock for all processes)."""
    ended: float
    connection: str
    is_delivery: bool
    """It brought events, and the answer to be sent is a good one."""


class ServerProcess(FakeLotusProcess):
    """The harness's side; the options are those of FakeLotusProcess.

    Args:
        log: where it writes down what it served.
        address: where it listens.
    """

    def __init__(self, log: Path, *arguments: Any, address: str = listener.LOOPBACK, **options: Any) -> None:
        super().__init__(*arguments, **options)
        module = self._command.index("lotus_durable.testing")
        self._command[module - 1 : module + 1] = ["-c", _PROGRAM, os.fspath(log), address]
        self._log = log
        self._read = 0
        self.served: list[Served] = []

    def look(self) -> list[Served]:
        """Read what was written down since the last look; return all."""
        if self._log.exists():
            with self._log.open() as log:
                log.seek(self._read)
                text = log.read()
            whole = text[: text.rfind("\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                began, ended, connection, is_delivery = line.split()
                self.served.append(Served(float(began), float(ended), connection, is_delivery == "1"))
        return self.served


def main() -> int:
    """Serve, as ``python -m lotus_durable.testing`` does; a file for the requests and an address come first."""
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    listener.LOOPBACK = sys.argv[2]

    class WatchedLotus(program.ControlledLotus):
        def decide(self, connection: Connection) -> Reply:
            began = time.monotonic()
            reply = super().decide(connection)
            request = connection.request
            if request.path == "/api/track/":
                is_ok = reply.answer is not None and reply.answer.status < 300
                is_good = is_ok and (request.content_length or 0) > _PROBE
                line = f"{began:.6f} {time.monotonic():.6f} {threading.get_native_id()} {is_good:d}\n"
                os.write(log, line.encode())
            return reply

    program.ControlledLotus = WatchedLotus  # type: ignore[misc]
    return program.main(sys.argv[3:])
