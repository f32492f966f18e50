"""Every line of the tables of servers and managers names tests that exist; versions are those that are installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from .kinds import EVERY_KIND
from .site import REPOSITORY
from .task_queues import EVERY_QUEUE

DOCS = REPOSITORY / "docs"
TABLES = [
    (DOCS / "servers.md").read_text(),
    (DOCS / "deploying.md").read_text().partition("## Managers and containers")[2].partition("\n## ")[0],
    (DOCS / "pythons.md").read_text().partition("## Ways to run it")[2].partition("\n## ")[0],
]
ROWS = [
    line
    for table in re.findall(r"^\|[^\n]*\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)", "\n".join(TABLES), flags=re.MULTILINE)
    for line in table.splitlines()
]
UNPINNED = {"23.0.0", "0.19.0"}
"""gunicorn's older form, which has a folder of its own, and Debian's tini."""


def cells(row: str) -> list[str]:
    return [each.strip() for each in row.strip("|").split("|")]


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """The names that a line may have of every test, with and without the parameters, and of every module."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "tests/servers",
        "tests/flusher",
        "tests/pythons",
    ]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=60).stdout
    names = set()
    for module, test in re.findall(r"^tests/\w+/(\w+)\.py::(.+)$", listed, flags=re.MULTILINE):
        function, bracket, parameters = test.partition("[")
        names |= {module, function, test, f"{module}{bracket}{parameters}"}
    return names


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cells(row)[0])
def test_every_line_has_all_cells_and_names_tests_that_exist(row: str, tests: set[str]) -> None:
    assert all(cells(row))
    named = re.findall(r"`([^`]+)`", cells(row)[-1])
    assert named
    assert set(named) <= tests


def test_every_kind_of_server_that_is_tested_is_in_a_line() -> None:
    told = " ".join(cells(row)[0] + cells(row)[-1] for row in ROWS)
    for name in [*(kind.name for kind in EVERY_KIND), *(queue.name for queue in EVERY_QUEUE)]:
        assert name.split(maxsplit=1)[0].lower() in told.lower()


def test_the_versions_are_the_ones_that_are_pinned() -> None:
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    pinned = [each for name in ("servers", "a-server-of-each-kind") for each in groups[name] if isinstance(each, str)]
    told = {word for row in ROWS for word in re.findall(r"\d+\.\d+\.\d+", cells(row)[1])}
    told |= set(re.findall(r"\d+\.\d+\.\d+", (DOCS / "quickstart.md").read_text()))
    versions = {match[1] for each in pinned if (match := re.search(r"==(\d+\.\d+\.\d+)", each))}
    tools = {"26.9.0", "0.41.3", "6.2.5"}  # gevent, eventlet and Redis, with which some of them run
    assert versions - tools == told - UNPINNED
