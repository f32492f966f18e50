from __future__ import annotations

import json

import pytest

from benchmarks.report import Goal, Report, Table, as_markdown, as_text, goal_table, shown


@pytest.mark.parametrize(
    ("goal", "verdict", "ratio"),
    [
        (Goal("a", 2.0, "at most", 3.0, "times"), "met", 1.5),
        (Goal("a", 4.0, "at most", 3.0, "times"), "MISSED", 0.75),
        (Goal("a", 6.0, "at least", 5.0, "times"), "met", 1.2),
        (Goal("a", 4.0, "at least", 5.0, "times"), "MISSED", 0.8),
        (Goal("a", 0, "at most", 0, "modules"), "met", float("inf")),
        (Goal("a", 1, "at most", 0, "modules"), "MISSED", 0.0),
        (Goal("a", -0.2, "at most", 3.0, "MB more"), "met", float("inf")),
        (Goal("a", None, "at most", 3.0, "times", note="not here"), "not measured", None),
        (Goal("a", 4.0, "at least", 5.0, "times", value_of_floor=6.0), "MISSED", 0.8),
        (Goal("a", 4.0, "at least", 5.0, "times", value_of_floor=4.9), "out of reach: the floor misses it too", 0.8),
        (Goal("a", 6.0, "at least", 5.0, "times", value_of_floor=4.9), "met", 1.2),
        (Goal("a", 4.0, "at most", 3.0, "times", value_of_floor=3.1), "out of reach: the floor misses it too", 0.75),
    ],
)
def test_a_goal_knows_whether_it_is_met(goal: Goal, verdict: str, ratio: float | None) -> None:
    assert goal.verdict == verdict
    assert goal.ratio == (None if ratio is None else pytest.approx(ratio))


def test_a_goal_that_could_not_be_measured_says_why_instead_of_a_value() -> None:
    [row] = goal_table([Goal("a", None, "at least", 5, "times", note="lotus-python was not measured")]).rows
    assert (row[1], row[-1]) == ("lotus-python was not measured", "not measured")


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, ""), ("a", "a"), (1_234_567, "1,234,567"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0, "0")],
)
def test_numbers_are_shown_with_the_digits_that_count(cell: float | str | None, text: str) -> None:
    assert shown(cell) == text


def test_a_table_is_written_for_terminals_and_for_documents() -> None:
    table = Table("t", "Title", ("what", "µs"), [("a", 1.5), ("longer", 1_000)])
    assert as_text(table) == "Title\n  what       µs\n  a        1.50\n  longer  1,000"
    assert as_markdown(table) == "| what | µs |\n| --- | ---: |\n| a | 1.50 |\n| longer | 1,000 |"


def test_a_report_becomes_json_with_its_verdicts() -> None:
    report = Report(
        "s", [Table("t", "T", ("a",), [("b",)])], [Goal("g", 2.0, "at most", 1.0, "s")], {"points": [(1, 2)]}
    )
    values = json.loads(json.dumps(report.as_json()))
    assert values["goals"][0]["verdict"] == "MISSED"
    assert values["tables"][0]["rows"] == [["b"]]
