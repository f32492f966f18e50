"""What holds for all tests."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lotus_durable.fork import this_process
from lotus_durable.queue.directory import QueueDirectory
from tests.leftovers import Leftovers


def _ignore(number: int, frame: object) -> None:
    """Ignore it here, and nowhere else: what has a handler is not ignored by the programs that are started."""


# A shell's ``&``, nohup and some CI runners leave them ignored, and so they would be in all programs under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, _ignore)


# No test asserts a time, nor does hypothesis: on a machine that others share an example may take any.
settings.register_profile(
    "any time", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("any time")


def pytest_configure(config: pytest.Config) -> None:
    """In CI a test that fails is run once more, and named at the end if it passes then."""
    if reruns := os.environ.get("LOTUS_TEST_RERUNS"):
        config.option.reruns = int(reruns)
        config.option.rerun_show_tracebacks = True
        config.option.reportchars += "R"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run first what forks this process some thousand times: the others make it larger, and a fork takes longer.

    Tests that share a fixture of their module are run by one of pytest-xdist's processes: each would else make its own.
    """
    items.sort(key=lambda item: "tests/queue/" not in item.nodeid)
    for item in items:
        if isinstance(item, pytest.Function) and any(
            definitions[-1].scope == "module" and definitions[-1].baseid.endswith(".py")
            for definitions in item._fixtureinfo.name2fixturedefs.values()
        ):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


_numbers = itertools.count()


@pytest.fixture
def directory(tmp_path: Path) -> QueueDirectory:
    """A queue directory that exists and is empty."""
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    return directory


@pytest.fixture(autouse=True)
def _nothing_outlives_its_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Begun before all other fixtures of a test, and so ended after them."""
    leftovers = Leftovers(f"{os.getpid()}-{next(_numbers)}")
    process = this_process()
    yield
    leftovers.end(request.node.funcargs.get("tmp_path"))
    connections = _forgotten_connections()
    assert this_process() == process, "for what was opened before, this process is another one from now on"
    assert not connections, "a database is still open (backend=sqlite): no child of this process would use SQLite"


def _forgotten_connections() -> list[tuple[int, int]]:
    """Return who has opened connections and not closed them, and forget it: it is told of the test that left them."""
    module = sys.modules.get("lotus_durable.queue.sqlite")
    opened = [] if module is None else module._opened_by
    found = list(opened)
    opened.clear()
    return found
