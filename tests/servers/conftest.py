"""A site for each test; what it starts ends with it."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from lotus_durable.testing import FakeLotus

from .site import Site

_FAILED = pytest.StashKey[bool]()


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Generator[Site]:
    """A Lotus server and a queue of its own, and nothing that runs yet; logs are shown when the test failed.

    Not in pytest's own folder: its path is too long for the sockets of some servers, and closed to other users.
    """
    with tempfile.TemporaryDirectory(prefix="lotus-") as folder, FakeLotus("L24") as lotus:
        site = Site(Path(folder), lotus)
        yield site
        site.end(show=request.node.stash.get(_FAILED, False))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the fixture know whether the test failed."""
    report = yield
    item.stash[_FAILED] = report.failed
    return report
