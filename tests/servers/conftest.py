"""What the tests with real servers share: a site for each test, servers that always end, and a table of figures."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from lotus_durable.testing import FakeLotusProcess

from .figures import HEADLINE, Figures
from .kinds import Kind
from .running import Running
from .site import Site, free_port

_FIGURES = pytest.StashKey[list[Figures]]()
_FAILED = pytest.StashKey[bool]()
_LOG_SHOWN = 20_000  # characters, from its end


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A Lotus server of its own, and nothing else yet."""
    with FakeLotusProcess("L24") as lotus:
        site = Site(tmp_path, lotus)
        site.prepare()
        yield site


@pytest.fixture
def run(site: Site, request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    """Run a command in the site. All are ended after the test; their log, and where they hang, is shown if it fails."""
    started: list[Running] = []

    def run(command: Sequence[str], environment: Mapping[str, str] | None = None, *, port: int = 0) -> Running:
        started.append(Running(site, command, environment, port=port))
        return started[-1]

    yield run
    if request.node.stash.get(_FAILED, False):
        for each in started:
            each.show_stacks()
        threading.Event().wait(0.5)  # they write them now
    for each in started:
        each.end()
    if site.log.exists():
        sys.stdout.write(site.log.read_text(errors="replace")[-_LOG_SHOWN:])


@pytest.fixture
def start(run: Callable[..., Running]) -> Callable[[Kind], Running]:
    """Start a server and wait until it answers."""

    def start(kind: Kind) -> Running:
        port = free_port()
        server = run(kind.command(port), kind.environment, port=port)
        server.wait_until_it_serves()
        return server

    return start


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[Figures], None]:
    """Show a test's figures at the end of the run."""
    return request.config.stash.setdefault(_FIGURES, []).append


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, to be run or left out by ``-m servers``."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.servers)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures know whether the test failed."""
    report = yield
    item.stash[_FAILED] = report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the table."""
    figures = terminalreporter.config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("real servers")
        for line in [HEADLINE, *map(str, figures)]:
            terminalreporter.write_line(line)
