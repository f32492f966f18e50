from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import describe
from benchmarks.publish import fill_in, publish
from benchmarks.report import Goal, Report, Table
from benchmarks.subjects import DURABLE
from benchmarks.summary import clients

_DOCUMENT = (
    "before\n<!-- benchmark: drain -->\nold\n<!-- end -->\nbetween\n<!-- benchmark: other -->\nkept\n<!-- end -->\n"
)


def _results(folder: Path) -> dict[str, Any]:
    curve = [(50.0, 1.0), (90.0, 2.0), (99.0, 10.0)]
    columns = ("µs", "survives", "p50", "p99", "p99.9", "worst p99.9", "calls", "refused")
    rows = [(DURABLE.label, "kill", 2.0, 5.0, 20.0, 25.0, 50, 3)]
    calls = Report(
        "calls",
        [Table(f"calls_{load}", load, columns, rows) for load in ("first", "later", "steady", "busy")],
        series={"first": [{"label": "floor", "name": "floor", "curve": curve}]},
    )
    lost = ("events", "survives", "accepted, then killed", "lost when killed", "accepted while down", "lost in it")
    losses = Report("losses", [Table("losses", "Lost", lost, [(DURABLE.label, "kill", 7_000, 0, 500, 0)])])
    drain = Report(
        "drain",
        [Table("drain", "Drain", ("backlog", "events/s"), [(10_000, 120_000)])],
        [Goal("drain: events/s", 120_000, "at least", 90_000, "events/s")],
        {"memory": {"idle": 30.0, "points": [(10_000, 31.0), (100_000, 31.5)]}},
    )
    workers = Report("workers", series={"throughput": [{"label": "ours", "name": "x", "points": [(1, 10), (8, 12)]}]})
    machine = {"scale": "tiny", **describe(folder)}
    return {
        "scenarios": {
            report.scenario: {**report.as_json(), "machine": machine} for report in (calls, losses, drain, workers)
        }
    }


def test_a_table_goes_where_its_mark_is_and_others_stay() -> None:
    filled = fill_in(_DOCUMENT, {"drain": "| new |"})
    assert filled == _DOCUMENT.replace("old", "| new |")
    assert fill_in(filled, {"drain": "| new |"}) == filled


def test_results_are_published_as_json_and_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.publish.draw", lambda *_: [])
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "benchmarks.md").write_text(_DOCUMENT, encoding="utf-8")
    (tmp_path / "README.md").write_text("<!-- benchmark: goals -->\n<!-- end -->", encoding="utf-8")
    written = publish(_results(tmp_path), docs)
    assert written == [docs / "benchmarks.json", docs / "benchmarks.md", tmp_path / "README.md"]
    assert json.loads((docs / "benchmarks.json").read_text(encoding="utf-8"))["scenarios"]["drain"]["machine"]["cores"]
    assert "| 10,000 | 120,000 |" in (docs / "benchmarks.md").read_text(encoding="utf-8")
    assert "| met |" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_what_a_run_has_not_made_stays_and_says_when_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.publish.draw", lambda *_: [])
    (tmp_path / "benchmarks.md").write_text(
        "".join(f"<!-- benchmark: {name} -->\n<!-- end -->\n" for name in ("runs", "goals", "clients")),
        encoding="utf-8",
    )
    before = _results(tmp_path)
    publish(before, tmp_path)
    drain = {**before["scenarios"]["drain"], "goals": []}
    drain["machine"] = {**drain["machine"], "when": "2100-01-01T00:00:00+00:00"}
    publish({"scenarios": {"drain": drain}}, tmp_path)
    kept = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))["scenarios"]
    assert kept.keys() == before["scenarios"].keys()
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| drain | 2100-01-01T00:00:00+00:00 |" in page
    assert f"| calls | {before['scenarios']['calls']['machine']['when']} |" in page
    assert "| events lost when killed, of | 0 of 7,000 |" in page
    assert "drain: events/s" not in page


def test_one_table_has_all_that_a_run_has_found_of_each_client(tmp_path: Path) -> None:
    found = clients(json.loads(json.dumps(_results(tmp_path))))
    assert found is not None
    assert found.columns == ("", DURABLE.label)
    rows = {str(row[0]): row[1] for row in found.rows}
    assert rows["10,000 calls/s: p99.9, µs"] == 20.0
    assert rows["burst from the first event: accepted / refused"] == "50 / 3"
    assert rows["events lost when killed, of"] == "0 of 7,000"
    assert "memory of 8 workers and who flushes, MB" not in rows
    assert clients({"scenarios": {}}) is None


def test_a_plot_is_drawn_for_each_series_that_is_there(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.plots import draw

    drawn = draw(json.loads(json.dumps(_results(tmp_path))), tmp_path)
    assert sorted(path.name for path in drawn) == ["latency-burst.png", "memory.png", "workers.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
