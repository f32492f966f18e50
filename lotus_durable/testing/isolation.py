"""Keeping an application's tests away from everything real: queues, flushers, servers.

Every client's options go through :meth:`Isolation.isolated`, also those of a client that was made when a module was
imported:

- a server that is no FakeLotus of this test run is replaced by the test's own one; where it has none, nothing is
  written and nothing is sent (``send=False``);
- a queue directory outside of pytest's temporary directory is replaced by one of the test's own.

What the application or a test says is right otherwise. A program that a test starts learns all of this from an
environment variable, which the package looks for when it is imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from lotus_durable.client import Client
from lotus_durable.config import Config
from lotus_durable.settings import renew
from lotus_durable.testing import hosts

VARIABLE = "LOTUS_ISOLATION"
"""What the package looks for, too; a flusher is given no variable that begins like this."""
_MOST_TRIES = 1000


class Isolation:
    """That of this process; one test at a time may have a server."""

    def __init__(self) -> None:
        self._temporary: str | None = None
        self._server: tuple[str, str] | None = None
        self._queues: dict[str, str] = {}
        self._clients: WeakKeyDictionary[Client, dict[str, Any]] = WeakKeyDictionary()
        self._originals = (Config.resolve, Client.__init__)
        self._outer: list[tuple[str | None, tuple[str, str] | None]] = []

    def begin(self) -> None:
        """Let no client be made from now on that is not isolated, and have all of them be without a server.

        A test may run pytest itself, in this process: what begins then ends within what is here already.
        """
        self._outer.append((self._temporary, self._server))
        self._temporary = None
        if len(self._outer) == 1:
            self._patch()
        self._use(None)

    def keep_in(self, temporary: str | None) -> None:
        """Say which is the directory of all that is not real; absolute and without links."""
        self._temporary = temporary
        self._tell_children()

    def _patch(self) -> None:
        resolve, make = self._originals

        def resolved(
            arguments: Mapping[str, Any] | None = None,
            settings: Mapping[str, Any] | None = None,
            environ: Mapping[str, str] | None = None,
        ) -> Config:
            return self.isolated(resolve(arguments, settings, environ))

        def made(client: Client, **options: Any) -> None:  # noqa: ANN401  # Client's
            make(client, **options)
            self._clients[client] = options

        Config.resolve = staticmethod(resolved)  # type: ignore[method-assign]
        Client.__init__ = made  # type: ignore[method-assign,assignment]
        hosts.watchers.append(self._tell_children)

    def begin_as_child(self) -> None:
        """Begin as in the process that started this one."""
        given = json.loads(os.environ[VARIABLE])
        hosts.started.update(given["hosts"])
        self.begin()
        self._server, self._queues = given["server"] and tuple(given["server"]), given["queues"]
        self.keep_in(given["temporary"])

    def end(self) -> None:
        """Undo it."""
        self._temporary, server = self._outer.pop()
        if self._outer:
            self._use(server)
            return
        Config.resolve, Client.__init__ = self._originals  # type: ignore[method-assign]
        hosts.watchers.remove(self._tell_children)
        os.environ.pop(VARIABLE, None)
        while self._queues:
            _remove(self._queues.popitem()[1])

    def isolated(self, config: Config) -> Config:
        """Return the options with what is real replaced."""
        if config.host not in hosts.started:
            if self._server is None:
                return config._replace(send=False)
            host, api_key = self._server
            config = config._replace(host=host, api_key=api_key, api_key_file=None)
        if self._temporary is None or not os.path.realpath(config.queue_dir).startswith(f"{self._temporary}/"):
            config = config._replace(queue_dir=self._queue_of(config.host))
        return config

    @contextlib.contextmanager
    def with_server(self, host: str, api_key: str) -> Iterator[None]:
        """Have all clients use a server and an empty queue of its own."""
        outer = self._server
        self._use((host, api_key))
        yield
        self._use(outer)
        _remove(self._queues.pop(host))

    def _use(self, server: tuple[str, str] | None) -> None:
        self._server = server
        if server is not None:
            self._queue_of(server[0])
        self._tell_children()
        renew()
        for client, options in list(self._clients.items()):
            client.release()
            client.adopt(Config.resolve(options))

    def _queue_of(self, host: str) -> str:
        if host not in self._queues:
            self._queues[host] = tempfile.mkdtemp(prefix="lotus-", dir=self._temporary)
        return self._queues[host]

    def _tell_children(self) -> None:
        known = {
            "temporary": self._temporary,
            "server": self._server,
            "queues": self._queues,
            "hosts": sorted(hosts.started),
        }
        os.environ[VARIABLE] = json.dumps(known)


def _remove(queue: str) -> None:
    # Its flusher ends within a second, and makes no file there any more; until then it may be writing one.
    for _ in range(_MOST_TRIES):
        if not os.path.isdir(queue):
            break
        shutil.rmtree(queue, ignore_errors=True)


isolation = Isolation()
