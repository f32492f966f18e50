from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from .command import main
from .decisions import rounds
from .ending import not_reached
from .history import History, read_history
from .plan import Plan
from .points import points_of
from .tally import Tally
from .trouble import TROUBLES

MANY = 200


def test_the_decisions_are_those_of_the_seed() -> None:
    assert list(islice(rounds(Plan(seed=7)), MANY)) == list(islice(rounds(Plan(seed=7)), MANY))
    assert list(islice(rounds(Plan(seed=7)), 3)) != list(islice(rounds(Plan(seed=8)), 3))


def test_nothing_is_left_out_for_long() -> None:
    played = list(islice(rounds(Plan(seed=7)), MANY))
    strikes = [strike for each in played for strike in each.strikes]
    assert {each.faults for each in played} == {*TROUBLES, None}
    assert {strike.point for strike in strikes} == {*points_of("journal"), None}
    signals = {(strike.victim, strike.signal) for strike in strikes if strike.point is None}
    assert len(signals) == 9
    assert any(each.full_disk for each in played)


def test_without_a_flusher_nobody_is_asked_to_strike_one() -> None:
    played = islice(rounds(Plan(seed=7, flushers=0)), MANY)
    assert all(strike.victim != "flusher" for each in played for strike in each.strikes)


def test_a_history_gives_back_the_plan_and_the_rounds(tmp_path: Path) -> None:
    plan = Plan(seed=7, workers=3, kills=5)
    written = History(tmp_path / "history")
    written.plan(plan)
    played = list(islice(rounds(plan), 20))
    for each in played:
        written.begins(each)
        written.note("killed", point="rotating", pid=1)
    written.close()
    assert read_history(tmp_path / "history") == (plan, played)


@pytest.mark.parametrize("line", ["", "no JSON", '{"plan": {"sed": 1}}', '{"round": {}}'])
def test_what_is_no_history_is_wrong_usage(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "history"
    history.write_text(f"{line}\n")
    with pytest.raises(SystemExit) as ended:
        main(["--history", str(history)])
    assert ended.value.code == 2
    assert str(history) in capsys.readouterr().err


def test_a_point_that_nobody_reached_is_a_problem() -> None:
    plan, tally = Plan(seed=7), Tally()
    tally.points.update(dict.fromkeys(points_of("journal"), 10))
    assert not_reached(plan, tally) == []
    tally.points["rotating"] = 0
    assert not_reached(plan, tally) == ["nobody was killed at the point rotating"]


def test_more_than_a_batch_sent_again_for_a_kill_is_a_problem() -> None:
    tally = Tally()
    tally.count_sent_again(400, uploader_kills=2)
    assert tally.problems == []
    tally.count_sent_again(401, uploader_kills=2)
    assert len(tally.problems) == 1
    assert json.dumps(tally.worst_sent_again) == "200.5"
