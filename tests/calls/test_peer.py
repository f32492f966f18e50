"""lotus-python's own test, as its package ships it, run against this package: statement by statement.

What it asks of its client and does not get here is listed, with what is said instead.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import lotus_durable as lotus
from lotus_durable.testing import Component, FakeLotus, Feature
from tests.scripts import ROOT

from .conftest import KEY

NOT_HERE = {
    "lotus.strict = True": "ConfigurationError: lotus_durable.strict: no setting strict; none is needed here: answers",
    # Of an add-on that was just attached: the server answers so, whoever asks.
    "assert response['fully_billed'] is True": "AssertionError",
    # Times are text here, as the server sent them.
    "assert response['start_date'] == now_minus_day": "AssertionError",
    "assert now_minus_day < response['start_date'] < now": "TypeError: '<' not supported between instances of",
    "assert response['end_date'] < now": "TypeError: '<' not supported between instances of 'str' and 'datetime",
    "assert canceled_sub['end_date'] <= now": "TypeError: '<=' not supported between instances of 'str' and 'datetime",
}
FILE = find_spec("lotus")


@pytest.fixture
def _settings(tmp_path: Path) -> Iterator[None]:
    lotus.queue_dir, lotus.flusher = tmp_path / "queue", "external"
    yield
    lotus.shutdown(0)
    for name in ("api_key", "host", "queue_dir", "flusher", "debug"):
        setattr(lotus, name, None)


pytestmark = pytest.mark.usefixtures("_settings")


@pytest.mark.skipif(FILE is None, reason="lotus-python is not installed")
def test_its_own_test_passes_but_for_what_is_listed(l24: FakeLotus, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dateutil")
    pytest.importorskip("dotenv")
    metric, unused, feature = Component("test_event"), Component("unused", limit=0), Feature("test_feature")
    contents: dict[str, Any] = {"components": [metric, unused], "features": [feature]}
    l24.accounts.filter_names.add("region")
    settings = {
        "LOTUS_API_KEY": KEY,
        "LOTUS_HOST": l24.host,
        "PLAN_ID": l24.accounts.add_plan("One", **contents).plan_id,
        "SWITCH_PLAN_ID": l24.accounts.add_plan("Other", **contents).plan_id,
        "ADDON_ID": l24.accounts.add_plan("More", addon=True, flat_rate=10).plan_id,
        "METRIC_ID": metric.metric_id,
        "UNUSED_METRIC_ID": unused.metric_id,
        "FEATURE_ID": feature.feature_id,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "lotus", lotus)
    failed: dict[str, str] = {}
    namespace: dict[str, Any] = {}
    statements = list(_statements())
    for statement in statements:
        try:
            exec(compile(ast.Module([statement], []), "test_e2e.py", "exec"), namespace)
        except Exception as error:  # noqa: BLE001  # all are compared
            failed[ast.unparse(statement)] = f"{type(error).__name__}: {error}"
    assert len(statements) > 60
    assert failed.keys() == NOT_HERE.keys(), failed
    for statement_text, said in NOT_HERE.items():
        assert failed[statement_text].startswith(said)
    assert lotus.drain(20).delivered == 3
    assert [event["event_name"] for event in l24.events] == ["test_event"] * 3


def _statements() -> Iterator[ast.stmt]:
    assert FILE is not None
    assert FILE.origin is not None
    tree = ast.parse((Path(FILE.origin).parent / "tests" / "test_e2e.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            [function] = node.body
            assert isinstance(function, ast.FunctionDef)
            yield from function.body
        else:
            yield node


def test_the_first_example_of_its_readme_as_written_with_debug(
    l24: FakeLotus, capfd: pytest.CaptureFixture[str]
) -> None:
    lotus.host = l24.host
    lotus.api_key = KEY
    lotus.debug = True
    # fmt: off
    lotus.track_event(customer_id='customer123', event_name='api_call', properties={'region': 'US', 'mb_used': 150})
    # fmt: on
    lotus.flush()
    [event] = l24.events
    assert (event["customer_id"], event["properties"]) == ("customer123", {"region": "US", "mb_used": 150})
    capfd.readouterr()


def test_what_track_event_returned_there_can_be_unpacked_and_the_event_is_tracked_once(l24: FakeLotus) -> None:
    lotus.host, lotus.api_key = l24.host, KEY
    unpacked: Any = lotus.track_event(customer_id="customer123", event_name="api_call", idempotency_id="id 1")
    ok, message = unpacked
    assert (ok, message) == (True, "id 1")
    event_id = lotus.track_event(customer_id="customer123", event_name="api_call")
    assert (len(event_id), event_id[8], f"{event_id}", type(str(event_id))) == (36, "-", str(event_id), str)
    lotus.flush()
    assert list(l24.times_received) == ["id 1", event_id]


def test_that_text_is_taken_as_text_by_what_stores_it(tmp_path: Path) -> None:
    import json
    import pickle
    import sqlite3

    lotus.send = False
    try:
        event_id = lotus.track_event(customer_id="customer123", event_name="api_call")
    finally:
        lotus.send = None
    assert json.loads(json.dumps({"id": event_id})) == {"id": event_id}
    assert type(pickle.loads(pickle.dumps(event_id))) is str
    with sqlite3.connect(tmp_path / "x.db") as database:
        [(found,)] = database.execute("SELECT ?", [event_id])
    database.close()
    assert found == event_id
    assert {event_id: 1}[str(event_id)] == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("update_addon", "lotus-python has the name, and fails"),
        ("batch_create_customers", "call create_customer for each"),
        ("default_client", "make a lotus_durable.Client of your own"),
        ("strict", "none is needed here"),
    ],
)
def test_a_name_that_is_missing_here_says_why(name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        getattr(lotus, name)


@pytest.mark.parametrize(
    "call",
    [
        lambda: lotus.track_event("customer123", "api_call"),  # type: ignore[call-arg]
        lambda: lotus.get_customer_access("customer123", event_name="api_call"),  # type: ignore[call-arg]
        lambda: lotus.list_subscriptions("customer123"),  # type: ignore[call-arg]
        lambda: lotus.Client("key", "https://lotus.example"),  # type: ignore[call-arg]
    ],
)
def test_positional_arguments_are_refused_before_anything_is_written_or_sent(l24: FakeLotus, call: Any) -> None:
    lotus.host, lotus.api_key = l24.host, KEY
    with pytest.raises(TypeError, match="positional argument"):
        call()
    assert l24.request_count == 0
    assert not Path(str(lotus.queue_dir)).exists()


def test_the_page_lists_what_its_own_test_asks_for_and_does_not_get() -> None:
    page = (ROOT / "docs" / "moving-from-lotus-python.md").read_text()
    assert "| `strict` |" in page
    assert "Times are text" in page
