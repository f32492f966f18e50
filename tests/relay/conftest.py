"""A broker for all tests of a session; a queue of its own for each test."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .broker import Cluster, why_not


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, started once. It is nobody's: who kills it, or cuts it off, makes a cluster of his own."""
    if reason := why_not():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("broker")) as cluster:
        yield cluster


@pytest.fixture
def queue_name(request: pytest.FixtureRequest) -> str:
    """A name for this test's queue."""
    return re.sub(r"\W+", "-", request.node.name)[:100]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one of pytest-xdist's processes run all tests that share the broker."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("broker"))
