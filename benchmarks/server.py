"""The sink's process, seen from whoever started it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.sink import Counts
from benchmarks.surroundings import ROOT

_LOOK_INTERVAL = 0.02  # seconds


class Server:
    """Asks the sink. One at a time.

    Args:
        port: of it on loopback.
        pid: of its process.
    """

    def __init__(self, port: int, pid: int) -> None:
        self._port = port
        self.pid: int = pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def counts(self) -> Counts:
        """Return what it counted since the last mark."""
        fields = json.loads(self._get("/counts"))
        fields.pop("now")
        return Counts(**fields)

    def mark(self) -> None:
        """Start counting anew."""
        self._get("/mark")

    def numbers(self) -> set[int]:
        """Return which events it has received, if it keeps that."""
        return set(json.loads(self._get("/numbers")))

    def go_down(self) -> None:
        """Answer nobody."""
        self._get("/down")

    def come_up(self) -> None:
        """Answer again."""
        self._get("/up")

    def wait_for(self, events: int, timeout: float) -> Counts:
        """Return the counts once it has received so many events.

        Raises:
            TimeoutError: it has not within ``timeout`` seconds.
        """
        ends = time.monotonic() + timeout
        while (counts := self.counts()).events < events or counts.last is None:
            if time.monotonic() > ends:
                raise TimeoutError(f"{counts.events} of {events} events arrived within {timeout:g} s")
            time.sleep(_LOOK_INTERVAL)
        return counts

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def serving(
    delay: float = 0.0, *, generation: str | None = None, keeps_numbers: bool = False, aside: bool = False
) -> Iterator[Server]:
    """Start a sink that takes ``delay`` seconds for each answer; end it afterwards.

    Args:
        delay: seconds.
        generation: ``"2024"``: it says that it is that server; None: nobody can tell which one it is.
        keeps_numbers: it keeps which events arrived.
        aside: it takes the processor from nobody, as if it were on another machine.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [*["numbers"] * keeps_numbers, *["aside"] * aside, *([] if generation is None else [generation])]
    command = [sys.executable, "-m", "benchmarks.sink", str(delay), *words]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), process.pid)
        finally:
            process.terminate()
