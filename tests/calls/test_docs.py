"""The examples of the pages about the calls run as they are written, page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lotus_durable as lotus
from lotus_durable import functions as answering
from lotus_durable.testing import Component, FakeLotus

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*sorted(DOCS.glob("calls/*.md")), DOCS / "moving-from-lotus-python.md"]
SETTINGS = ("api_key", "host", "queue_dir", "access_cache_ttl", "access_fallback")
DIGITS = "0123456789abcdef" * 2


@pytest.fixture
def _documented_server(
    fake_lotus_factory: type[FakeLotus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The server that the examples speak of."""
    monkeypatch.setenv("LOTUS_QUEUE_DIR", str(tmp_path / "another queue"))  # for clients of their own
    monkeypatch.setenv("LOTUS_FLUSHER", "external")  # no process outlives the test
    server = fake_lotus_factory("L24", api_key="YOUR API KEY")
    server.accounts.add_plan(
        "Pro", plan_id=f"plan_{DIGITS}", components=[Component("api_call", limit=5)], tags=["public"]
    )
    server.accounts.add_plan("Bigger", plan_id=f"plan_{DIGITS[::-1]}")
    server.accounts.add_plan("Extra", plan_id=f"addon_{DIGITS}", addon=True)
    server.add_customer("customer123")
    for name, value in zip(SETTINGS, ("YOUR API KEY", server.host, tmp_path / "queue"), strict=False):
        setattr(lotus, name, value)
    yield
    lotus.shutdown()
    for name in SETTINGS:
        setattr(lotus, name, None)


@pytest.mark.usefixtures("_documented_server")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_example_of_a_page_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert examples
    if page.stem == "customers":  # it begins with the customer's creation
        examples[0] = examples[0].replace("customer123", "customer124").replace("billing@", "billing124@")
        examples[1] = examples[1].replace("customer123", "customer124")
    for example in examples:
        exec(compile(example, page.name, "exec"), {})
    assert "Traceback" not in capsys.readouterr().err


def test_every_call_is_on_a_page() -> None:
    overview = (DOCS / "calls" / "README.md").read_text()
    pages = "".join(page.read_text() for page in PAGES[1:])
    for name, value in vars(answering).items():
        if hasattr(value, "__wrapped__"):
            assert f"`{name}`" in overview
            assert name in pages


def test_every_error_is_in_the_overview() -> None:
    overview = (DOCS / "calls" / "README.md").read_text()
    tree = re.findall(r"^ .*── (\w+)", overview, flags=re.MULTILINE)
    assert {"NotSupported", "Timeout"} <= set(tree)
    assert all(issubclass(getattr(lotus, name), lotus.APIError) for name in tree)
