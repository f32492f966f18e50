"""What the tests of the calls share: servers, clients on them, and no wait between two attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.calls import caller
from lotus_durable.client import Client
from lotus_durable.http import routes  # noqa: F401  # now, and not within the deadline of some test
from lotus_durable.testing import FakeLotus
from tests.rig import no_settings_of_this_machine  # noqa: F401  # a fixture

KEY = "abcdefgh.0123456789abcdef0123456789abcdef"

Connect = Callable[..., Client]
"""Makes a client of a server: ``connect(server, **options)``."""


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "_FIRST_PAUSE", 0.0)


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Make clients; each is shut down after the test."""
    clients: list[Client] = []

    def connect_to(server: Any, **options: Any) -> Client:
        merged = {"api_key": KEY, "host": server.host, "queue_dir": tmp_path / "queue", "flusher": "external"}
        merged |= options
        clients.append(Client(**merged))
        return clients[-1]

    yield connect_to
    for client in clients:
        client.release()


@pytest.fixture
def l22(fake_lotus_factory: Callable[..., FakeLotus]) -> FakeLotus:
    """The server of 2022, without customers."""
    return fake_lotus_factory("L22", api_key=KEY, customers=[])


@pytest.fixture
def l24(fake_lotus_factory: Callable[..., FakeLotus]) -> FakeLotus:
    """The server of 2024."""
    return fake_lotus_factory("L24", api_key=KEY)
