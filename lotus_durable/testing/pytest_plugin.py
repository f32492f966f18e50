"""pytest: an application's tests touch nothing real, and ``fake_lotus`` is a running server with an empty queue.

::

    def test_something(fake_lotus): ...

    @pytest.mark.fake_lotus("L22", customers=["c1"])
    def test_with_the_server_of_2022(fake_lotus): ...

Loaded by pytest wherever the package is installed: the server itself is imported by the first test that uses it. What
is kept away from what is in :mod:`.isolation`; ``lotus_isolation = false`` in pytest's configuration turns that off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from lotus_durable.testing.isolation import isolation

if TYPE_CHECKING:
    from lotus_durable.testing.fake_lotus import FakeLotus

_is_isolated = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the option known."""
    about = "lotus_durable: keep tests away from real queues and servers (default: true)"
    parser.addini("lotus_isolation", about, type="bool", default=True)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begin before anything of the application's is imported."""
    early_config.stash[_is_isolated] = early_config.getini("lotus_isolation")
    if early_config.stash[_is_isolated]:
        isolation.begin()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, also under ``--strict-markers``."""
    about = 'fake_lotus(generation="L24", **options): how the fake_lotus fixture builds its FakeLotus'
    config.addinivalue_line("markers", about)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it."""
    if config.stash.get(_is_isolated, False):
        isolation.end()


@pytest.fixture(scope="session", autouse=True)
def _lotus_temporary_directory(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    # Tests that need none run where none can be made, too.
    with contextlib.suppress(OSError):
        if pytestconfig.stash.get(_is_isolated, False):
            isolation.keep_in(str(tmp_path_factory.getbasetemp().resolve()))


@pytest.fixture
def fake_lotus_factory() -> Iterator[Callable[..., FakeLotus]]:
    """Return a function that takes the arguments of FakeLotus and starts one; all are stopped after the test."""
    from lotus_durable.testing.fake_lotus import FakeLotus

    servers: list[FakeLotus] = []

    def start(*arguments: object, **options: object) -> FakeLotus:
        server = FakeLotus(*arguments, **options).start()  # type: ignore[arg-type]  # FakeLotus checks them
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def fake_lotus(request: pytest.FixtureRequest, fake_lotus_factory: Callable[..., FakeLotus]) -> Iterator[FakeLotus]:
    """Start a FakeLotus, L24 unless ``@pytest.mark.fake_lotus(...)`` says otherwise, and have all clients use it."""
    marker = request.node.get_closest_marker("fake_lotus")
    server = fake_lotus_factory() if marker is None else fake_lotus_factory(*marker.args, **marker.kwargs)
    if not request.config.stash.get(_is_isolated, False):
        yield server
        return
    with isolation.with_server(server.host, server.api_key):
        yield server
