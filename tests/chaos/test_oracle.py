"""The oracle finds what it is there to find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.apps.ledger import Entries, Ledger, read_ledger

from .oracle import Books, Evidence, judge

GOOD_BOOKS = Books(accepted=4, delivered=2, pending=0, parked=1, dead_lettered=1, discarded=0)


def evidence() -> Evidence:
    """Four events that were acknowledged, one at each place, and a call that was killed before it wrote anything."""
    return Evidence(
        entries=Entries({"a", "b", "c", "killed"}, 1, ["a", "b", "c", "by-library"]),
        at_server={"a": 2, "b": 1},
        parked=["c"],
        dead=["by-library"],
        pending=[],
        books=GOOD_BOOKS,
        not_drained=None,
    )


def problem(changed: Evidence) -> str:
    """The one problem that the oracle sees."""
    [found] = judge(changed).problems
    return found


def test_a_world_in_which_all_is_well_has_no_problems() -> None:
    judgement = judge(evidence())
    assert judgement.problems == ()
    assert (judgement.attempted, judgement.acknowledged, judgement.found) == (5, 4, 4)
    assert judgement.sent_again == 1


def test_a_lost_event_is_found() -> None:
    books = replace(GOOD_BOOKS, accepted=3, delivered=1)
    judgement = judge(replace(evidence(), at_server={"a": 1}, books=books))
    assert judgement.lost == ("b",)
    assert judgement.problems == ("1 acknowledged events are LOST: b",)


def test_an_event_that_nobody_tracked_is_found() -> None:
    books = replace(GOOD_BOOKS, accepted=5, delivered=3)
    changed = replace(evidence(), at_server={"a": 1, "b": 1, "from nowhere": 1}, books=books)
    assert judge(changed).never_tracked == 1
    assert problem(changed) == "1 events were found that nobody tracked"


def test_an_id_of_the_librarys_that_a_killed_call_could_not_write_down_is_not_held_against_it() -> None:
    entries = Entries({"a", "b", "c", "killed"}, 2, ["a", "b", "c", "by-library"])
    books = replace(GOOD_BOOKS, accepted=5, delivered=3)
    known = replace(evidence(), entries=entries, at_server={"a": 1, "b": 1, "unknown": 1}, books=books)
    assert judge(known).problems == ()


def test_an_attempted_event_may_be_there_or_not() -> None:
    books = replace(GOOD_BOOKS, accepted=5, delivered=3)
    assert judge(replace(evidence(), at_server={"a": 1, "b": 1, "killed": 1}, books=books)).problems == ()


@pytest.mark.parametrize("number", ["accepted", "delivered", "parked", "dead_lettered"])
@pytest.mark.parametrize("change", [-1, 1])
def test_books_that_do_not_add_up_are_found(number: str, change: int) -> None:
    books = replace(GOOD_BOOKS, **{number: getattr(GOOD_BOOKS, number) + change})
    assert any("conservation" in found for found in judge(replace(evidence(), books=books)).problems)


def test_books_that_add_up_to_something_else_than_what_is_found_are_no_good() -> None:
    books = replace(GOOD_BOOKS, accepted=5, delivered=3)
    assert problem(replace(evidence(), books=books)) == "the queue says that it accepted 5 events, and 4 are found"


def test_events_that_were_discarded_unasked_are_found() -> None:
    books = replace(GOOD_BOOKS, delivered=1, discarded=1)
    assert problem(replace(evidence(), books=books)) == "1 events were discarded, and nobody asked for that"


def test_an_id_that_two_calls_returned_is_found() -> None:
    entries = replace(evidence().entries, returned=["a", "b", "c", "by-library", "b"])
    assert problem(replace(evidence(), entries=entries)) == "1 ids were returned by more than one call: b"


def test_events_that_are_still_pending_are_not_lost_but_a_problem() -> None:
    books = replace(GOOD_BOOKS, delivered=1, pending=1)
    judgement = judge(replace(evidence(), at_server={"a": 1}, pending=["b"], books=books))
    assert judgement.lost == ()
    assert judgement.problems == ("1 events are still pending after the drain: b",)


def test_a_drain_that_does_not_come_to_an_end_is_a_problem() -> None:
    assert problem(replace(evidence(), not_drained="too slow")) == "the queue could not be drained: too slow"


def test_what_was_in_memory_alone_is_counted_apart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for id_ in ("a", "b", "c", "killed", "in memory"):
        ledger.intend(id_)
    ledger.intend(None)
    for id_ in ("a", "b", "c", "by-library"):
        ledger.returned(id_)
    ledger.kept("in memory")
    ledger.kept("a")  # and then written
    judgement = judge(replace(evidence(), entries=read_ledger(tmp_path)))
    assert judgement.problems == ()
    assert judgement.lost_from_memory == 1
