from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks.bench import Bench
from benchmarks.report import Goal, Report
from benchmarks.scenarios import GROUPS, SCENARIOS, calls, scenario, workers
from benchmarks.subjects import DURABLE, DURABLE_EXTERNAL, FLOOR, PERSIST_QUEUE


def _finding(monkeypatch: pytest.MonkeyPatch, *goals: Goal) -> list[str]:
    """Replace every scenario by one that finds these goals; return the names asked for, as they are."""
    asked: list[str] = []

    def found(name: str) -> object:
        asked.append(name)
        return lambda _: Report(name, goals=goals, notes=["a note"])

    monkeypatch.setattr(command, "scenario", found)
    return asked


@pytest.mark.parametrize(
    ("value", "of_floor", "code"), [(1.0, None, 0), (3.0, None, 1), (3.0, 1.5, 1), (3.0, 2.5, 0), (None, None, 0)]
)
def test_with_check_a_missed_goal_is_exit_code_1_unless_the_floor_misses_it_too(
    monkeypatch: pytest.MonkeyPatch, value: float | None, of_floor: float | None, code: int
) -> None:
    _finding(monkeypatch, Goal("goal", value, "at most", 2.0, "times", value_of_floor=of_floor))
    assert command.main(["cost", "--check"]) == code
    assert command.main(["cost"]) == 0


def test_the_floor_stands_in_our_place_where_workers_are_compared_with_persist_queue() -> None:
    times = {FLOOR.name: 40.0, DURABLE_EXTERNAL.name: 300.0, PERSIST_QUEUE.name: 3_600.0}
    tail = workers.goal("tail", times, 100, " µs")
    assert (tail.value, tail.value_of_floor, tail.of, tail.is_missed) == (12, 90, "3,600 / 300 µs", False)
    rates = {FLOOR.name: 900.0, DURABLE_EXTERNAL.name: 400.0, PERSIST_QUEUE.name: 30.0}
    rate = workers.goal("rate", rates, 15)
    assert (rate.value, rate.value_of_floor, rate.of, rate.is_missed) == (400 / 30, 30, "400 / 30", True)


def test_without_names_all_run_and_named_ones_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _finding(monkeypatch)
    command.main([])
    assert asked == list(SCENARIOS)
    asked.clear()
    command.main(["drain", "calls"])
    assert asked == ["calls", "drain"]


def test_a_group_stands_for_its_scenarios_each_of_which_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _finding(monkeypatch)
    command.main(["imports", "guest"])
    assert sorted(asked) == sorted(GROUPS["guest"])


def test_goals_are_all_scenarios_and_a_missed_one_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _finding(monkeypatch, Goal("goal", 3.0, "at most", 2.0, "times"))
    assert command.main(["goals", "--quick"]) == 1
    assert asked == list(SCENARIOS)


def test_an_interpreter_of_another_build_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["memory", "--beside", str(tmp_path / "python")])
    assert ended.value.code == 2


def test_what_was_found_is_printed_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _finding(monkeypatch, Goal("the goal", 3.0, "at most", 2.0, "times", floor="1 µs"))
    command.main(["--scale", "tiny", "--json", str(tmp_path / "found.json"), "cost"])
    output = capsys.readouterr().out
    assert "note: a note" in output
    assert "MISSED" in output
    kept = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    machine = kept["scenarios"]["cost"]["machine"]
    assert machine["scale"] == "tiny"
    assert machine["python"]
    assert kept["scenarios"]["cost"]["goals"][0]["name"] == "the goal"


def test_an_unknown_scenario_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["no-such"])
    assert ended.value.code == 2


_QUICK = {"calls", "cost", "losses"}
"""The suite runs these, with ours and the floor alone; all others take minutes together."""


# Instructions are counted by valgrind, which takes its time, and is not everywhere; so does strace.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _QUICK else [pytest.mark.servers, pytest.mark.timeout(600)])
        for name in SCENARIOS
        if name != "instructions"
    ],
)
def test_every_scenario_finds_figures_at_a_tiny_scale(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name in {"strace", "valgrind"} else found(name))
    monkeypatch.setattr(calls, "SUBJECTS", (FLOOR, DURABLE))
    report = scenario(name)(bench)
    assert report.scenario == name
    assert report.tables
    assert all(len(row) == len(table.columns) for table in report.tables for row in table.rows)
    json.dumps(report.as_json())
