"""pytest fixtures: ``fake_lotus``, a running server, and ``fake_lotus_factory``, which starts more of them.

::

    def test_something(fake_lotus): ...

    @pytest.mark.fake_lotus("L22", customers=["c1"])
    def test_with_the_server_of_2022(fake_lotus): ...

Loaded by pytest wherever the package is installed: the server itself is imported by the first test that uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lotus_durable.testing.fake_lotus import FakeLotus


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, also under ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        'fake_lotus(generation="L24", **options): how the fake_lotus fixture builds its FakeLotus',
    )


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
def fake_lotus(request: pytest.FixtureRequest, fake_lotus_factory: Callable[..., FakeLotus]) -> FakeLotus:
    """Start a FakeLotus: L24 unless ``@pytest.mark.fake_lotus(...)`` says otherwise."""
    marker = request.node.get_closest_marker("fake_lotus")
    return fake_lotus_factory() if marker is None else fake_lotus_factory(*marker.args, **marker.kwargs)
