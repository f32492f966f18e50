"""Load: threads that request events over HTTP until told to stop, and mind no failure."""

from __future__ import annotations

import http.client
import random
import threading
from types import TracebackType
from typing import Self

from .waiting import wait_until

MOST_REQUESTS = 30_000
"""A load ends by itself after so many, whatever happens."""


class Load:
    """A context manager: inside, ``threads`` clients request ``/track/1`` to ``/track/9``.

    Args:
        port: of the server, on loopback.
        path: what to request instead.
        threads: how many clients.
        keep_alive: whether they keep their connections, if the server does.
        pause: seconds between two requests of a client; the machine is shared.
    """

    def __init__(
        self, port: int, *, path: str = "", threads: int = 4, keep_alive: bool = True, pause: float = 0.004
    ) -> None:
        self._port = port
        self._path = path
        self._keep_alive = keep_alive
        self._pause = pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(threads)]
        self.answered = 0
        self.failed = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def requests(self) -> int:
        return self.answered + self.failed

    def stop(self) -> None:
        """Let the requests in flight end, and make no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_answers(self, more: int) -> None:
        """Wait until so many more requests were answered."""
        enough = self.answered + more
        wait_until(lambda: self.answered >= enough, f"{more} more requests are answered")

    def _run(self, seed: int) -> None:
        draw = random.Random(seed)
        connection: http.client.HTTPConnection | None = None
        while not self._stop.wait(self._pause) and self.requests < MOST_REQUESTS:
            connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            is_answered = _request(connection, self._path or f"/track/{draw.randint(1, 9)}")
            with self._lock:
                self.answered += is_answered
                self.failed += not is_answered
            if not (is_answered and self._keep_alive):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


def _request(connection: http.client.HTTPConnection, path: str) -> bool:
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return False
    return answer.status == http.client.OK
