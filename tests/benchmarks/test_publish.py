from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import describe
from benchmarks.publish import fill_in, publish
from benchmarks.report import Goal, Report, Table

_DOCUMENT = (
    "before\n<!-- benchmark: drain -->\nold\n<!-- end -->\nbetween\n<!-- benchmark: other -->\nkept\n<!-- end -->\n"
)


def _results(folder: Path) -> dict[str, Any]:
    curve = [(50.0, 1.0), (90.0, 2.0), (99.0, 10.0)]
    enqueue = Report("enqueue", series={"burst": [{"label": "floor", "name": "floor", "curve": curve}]})
    drain = Report(
        "drain",
        [Table("drain", "Drain", ("backlog", "events/s"), [(10_000, 120_000)])],
        [Goal("drain: events/s", 120_000, "at least", 90_000, "events/s")],
        {"memory": {"idle": 30.0, "points": [(10_000, 31.0), (100_000, 31.5)]}},
    )
    workers = Report("workers", series={"throughput": [{"label": "ours", "name": "x", "points": [(1, 10), (8, 12)]}]})
    scenarios = {report.scenario: report.as_json() for report in (enqueue, drain, workers)}
    return {"machine": describe(folder), "scale": "tiny", "scenarios": scenarios}


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
    assert json.loads((docs / "benchmarks.json").read_text(encoding="utf-8"))["machine"]["cores"]
    assert "| 10,000 | 120,000 |" in (docs / "benchmarks.md").read_text(encoding="utf-8")
    assert "| met |" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_plot_is_drawn_for_each_series_that_is_there(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.plots import draw

    drawn = draw(json.loads(json.dumps(_results(tmp_path))), tmp_path)
    assert sorted(path.name for path in drawn) == ["latency-burst.png", "memory.png", "workers.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
