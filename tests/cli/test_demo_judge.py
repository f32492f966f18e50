"""The demo's judgement: what it takes to be "nothing was lost", and what gives it away when something was."""

from __future__ import annotations

from typing import Any

import pytest

from lotus_durable.cli.demo.judge import Evidence, judge
from lotus_durable.queue.stats import QueueStats


def books(**counts: int) -> QueueStats:
    fields: dict[str, Any] = dict.fromkeys(
        ("accepted", "delivered", "pending", "parked", "dead_lettered", "discarded", "buffered", "pending_bytes"), 0
    )
    return QueueStats(**{**fields, **counts}, oldest_age=None, flusher=None)


def evidence(**found: Any) -> Evidence:
    """Four events: one of them came twice, one is parked, one is dead."""
    good: dict[str, Any] = {
        "expected": 4,
        "accepted": ["a", "b", "c", "d"],
        "received": {"a": 2, "b": 1},
        "parked": ["c"],
        "dead": ["d"],
        "pending": [],
        "kills": 0,
        "missing_takeovers": 0,
        "not_drained": None,
        "books": books(accepted=4, delivered=2, parked=1, dead_lettered=1),
    }
    return Evidence(**{**good, **found})


def test_every_event_is_somewhere() -> None:
    judgement = judge(evidence())
    assert judgement.is_good
    assert judgement.problems == ()
    assert (judgement.accepted, judgement.delivered, judgement.parked, judgement.dead_lettered) == (4, 2, 1, 1)
    assert (judgement.lost, judgement.duplicates, judgement.pending, judgement.unrecorded) == ((), 1, 0, 0)


def test_an_event_that_is_nowhere_is_lost() -> None:
    judgement = judge(evidence(received={"a": 2}, books=books(accepted=4, delivered=1, pending=1, parked=1)))
    assert judgement.lost == ("b",)
    assert not judgement.is_good
    assert "1 accepted events are LOST: b" in judgement.problems


def test_an_event_that_only_the_books_know_is_lost() -> None:
    assert judge(evidence(received={"a": 2})).lost == ("b",)


def test_an_event_that_is_still_in_the_queue_is_not_lost_but_not_good_either() -> None:
    judgement = judge(
        evidence(
            received={"a": 2},
            pending=["b"],
            not_drained="not done within 5 seconds",
            books=books(accepted=4, delivered=1, pending=1, parked=1, dead_lettered=1),
        )
    )
    assert judgement.lost == ()
    assert judgement.pending == 1
    assert judgement.problems == ("1 events are still in the queue: not done within 5 seconds",)


def test_an_event_that_the_server_has_and_has_not_confirmed_is_delivered() -> None:
    judgement = judge(
        evidence(pending=["b"], not_drained="slow", books=books(accepted=4, delivered=1, pending=1, parked=2))
    )
    assert (judgement.delivered, judgement.pending) == (2, 0)
    assert not judgement.is_good


def test_a_complete_drain_that_left_something_is_a_problem() -> None:
    judgement = judge(evidence(received={"a": 2}, pending=["b"], books=books(accepted=4, delivered=1, pending=3)))
    assert any("the drain did not see them" in problem for problem in judgement.problems)


def test_a_kill_between_acceptance_and_record_explains_one_event_more() -> None:
    one_more = {
        "received": {"a": 2, "b": 1, "x": 1},
        "books": books(accepted=5, delivered=3, parked=1, dead_lettered=1),
    }
    explained = judge(evidence(**one_more, kills=1))
    assert explained.is_good
    assert (explained.unrecorded, explained.delivered) == (1, 2)
    assert "no worker recorded" in judge(evidence(**one_more, kills=0)).problems[0]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({"expected": 5}, "only 4 of 5 events were tracked in time"),
        ({"accepted": ["a", "b", "c", "d", "d"]}, "1 ids were given to two events"),
        ({"dead": ["d", "a"]}, "1 events are in two places: a"),
        ({"missing_takeovers": 2}, "2 times nobody took over from a leader that was killed"),
        ({"books": books(accepted=5, delivered=2, parked=1, dead_lettered=1)}, "do not balance: accepted 5, settled 4"),
        ({"books": books(accepted=4, delivered=3, dead_lettered=1)}, "(3, 0, 1), but there are (2, 1, 1)"),
    ],
)
def test_whatever_is_not_as_promised_is_a_problem(found: dict[str, Any], problem: str) -> None:
    judgement = judge(evidence(**found))
    assert not judgement.is_good
    assert any(problem in each for each in judgement.problems)


def test_of_many_lost_events_some_are_named() -> None:
    accepted = [f"id-{number}" for number in range(10)]
    [problem, *_] = judge(evidence(expected=10, accepted=accepted, received={}, parked=[], dead=[])).problems
    assert problem == "10 accepted events are LOST: id-0, id-1, id-2, …"
