"""FakeLotus in a process of its own, for tests that fork, kill, or want the server outside their interpreter."""

from __future__ import annotations

import http.client
import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from lotus_durable.testing import hosts
from lotus_durable.testing.faults import Faults

if TYPE_CHECKING:  # this process need not load it
    from lotus_durable.testing.fake_lotus import Generation


class FakeLotusProcess:
    """A handle on ``python -m lotus_durable.testing``; a context manager, also :meth:`start` and :meth:`stop`.

    The server ends when it is stopped or killed, and when the process that started it dies. Questions and orders go
    over HTTP and may be used in forked children too. ``options`` are FakeLotus's, as far as JSON can hold them.
    """

    def __init__(
        self,
        generation: Generation = "L24",
        *,
        api_key: str = "test-key",
        faults: Faults | None = None,
        **options: Any,  # noqa: ANN401  # FakeLotus checks them
    ) -> None:
        self.api_key = api_key
        options |= {"generation": generation, "api_key": api_key, "faults": (faults or Faults()).as_json()}
        self._command = [sys.executable, "-m", "lotus_durable.testing", "--until-stdin-closes", json.dumps(options)]
        self._process: subprocess.Popen[bytes] | None = None
        self._starter = os.getpid()
        self._host = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout: float = 30.0) -> Self:
        """Start it and wait for its URL; raises RuntimeError when none comes within ``timeout`` seconds."""
        if self._process is not None:
            return self
        self._starter = os.getpid()
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is for the one who started it
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if readable else b""
        if not line.startswith(b"http"):
            self.kill()
            msg = f"FakeLotus did not start within {timeout:g} s"
            raise RuntimeError(msg)
        self._host = line.decode().strip()
        hosts.add(self._host)
        return self

    def stop(self, timeout: float = 10.0) -> None:
        """End it in order, by force after ``timeout`` seconds. In a forked child only the handle is dropped."""
        if self._process is not None and os.getpid() == self._starter:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
            self.kill()

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; what it held is gone. :meth:`start` begins anew."""
        if self._process is not None and os.getpid() == self._starter:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @property
    def host(self) -> str:
        """The base URL; raises RuntimeError before the start."""
        if not self._host:
            msg = "FakeLotusProcess is not started"
            raise RuntimeError(msg)
        return self._host

    def state(self) -> dict[str, Any]:
        """Return :meth:`FakeLotus.counts`."""
        return dict(self._order("counts"))

    def ids(self) -> dict[str, int]:
        """Return :attr:`FakeLotus.times_received`."""
        return dict(self._order("times_received"))

    def database(self) -> set[str]:
        """Return the ids of what is stored in the end, see :attr:`FakeLotus.database`."""
        return set(self._order("database"))

    def set_faults(self, faults: Faults | None) -> None:
        """Replace what goes wrong; None ends all faults."""
        self._order("set_faults", faults=(faults or Faults()).as_json())

    def go_away(self, seconds: float) -> None:
        """Take the server away for so long: connections are reset, new ones refused, then it is back."""
        with suppress(ConnectionError):  # being reset is the answer
            self._order("go_away_for", seconds=seconds)

    def _order(self, name: str, /, **arguments: object) -> Any:  # noqa: ANN401  # JSON
        """See ``__main__``; raises RuntimeError when it refuses and OSError when the server is away."""
        connection = http.client.HTTPConnection(urlsplit(self.host).netloc, timeout=30)
        try:
            connection.request("POST", f"/_fake/{name}", json.dumps(arguments))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            msg = f"FakeLotus refuses {name}: {text.decode(errors='replace')}"
            raise RuntimeError(msg)
        return json.loads(text)
