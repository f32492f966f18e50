"""The examples of the pages about the calls run as they are written, page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import lotus_durable as lotus
from lotus_durable.calls.lazy import NAMES
from lotus_durable.testing import Component, FakeLotus

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*sorted(DOCS.glob("calls/*.md")), DOCS / "moving-from-lotus-python.md"]
SETTINGS = ("api_key", "host", "queue_dir")
DIGITS = "0123456789abcdef" * 2


FIRST_LINES = {
    "# Servers of 2022 and 2024.": ("L22", "L24"),
    "# Server of 2022.": ("L22",),
    "# Server of 2024.": ("L24",),
    "# A server of its own, like that of 2024.": ("L24",),
}


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def servers_of(example: str) -> tuple[str, ...]:
    """Return for which servers an example says that it is."""
    first = example.partition("\n")[0]
    return next((servers for words, servers in FIRST_LINES.items() if first.startswith(words)), ())


@pytest.fixture
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LOTUS_QUEUE_DIR", str(tmp_path / "another queue"))  # for clients of their own
    monkeypatch.setenv("LOTUS_FLUSHER", "external")  # no process outlives the test
    lotus.api_key, lotus.queue_dir = "YOUR API KEY", tmp_path / "queue"
    yield
    lotus.shutdown()
    for name in SETTINGS:
        setattr(lotus, name, None)


def documented(server: FakeLotus, page: Path) -> FakeLotus:
    """Give a server the customer and the plans that the examples speak of."""
    server.accounts.add_plan(
        "Pro", plan_id=f"plan_{DIGITS}", components=[Component("api_call", limit=5)], tags=["public"]
    )
    server.accounts.add_plan("Bigger", plan_id=f"plan_{DIGITS[::-1]}")
    server.accounts.add_plan("Extra", plan_id=f"addon_{DIGITS}", addon=True)
    if page.stem != "customers":  # it begins with the customer's creation
        server.add_customer("customer123")
    return server


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("generation", ["L22", "L24"])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_example_runs_on_the_servers_it_says_it_is_for(
    page: Path,
    generation: Literal["L22", "L24"],
    fake_lotus_factory: type[FakeLotus],
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = documented(fake_lotus_factory(generation, api_key="YOUR API KEY", customers=[]), page)
    lotus.host = server.host
    for example in examples(page):
        if generation in servers_of(example):
            exec(compile(example, page.name, "exec"), {})
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_example_says_for_which_servers_it_is(page: Path) -> None:
    assert examples(page)
    assert [example for example in examples(page) if not servers_of(example)] == []


def test_every_call_is_on_a_page() -> None:
    overview = (DOCS / "calls" / "README.md").read_text()
    pages = "".join(page.read_text() for page in PAGES[1:])
    for name in NAMES:
        assert f"`{name}`" in overview
        assert name in pages


def test_every_error_is_in_the_overview() -> None:
    overview = (DOCS / "calls" / "README.md").read_text()
    tree = re.findall(r"^ .*── (\w+)", overview, flags=re.MULTILINE)
    assert {"NotSupported", "Timeout"} <= set(tree)
    assert all(issubclass(getattr(lotus, name), lotus.APIError) for name in tree)
