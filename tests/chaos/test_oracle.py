"""The oracle finds what it is there to find: each test plants one thing in a good world."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lotus_durable.clock import since_boot
from lotus_durable.flusher.starting import Starting
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.stats import QueueStats
from lotus_durable.queue.writer import SegmentWriter
from lotus_durable.testing import FakeLotus
from tests.rig import record
from tests.servers.apps.ledger import Entries, Ledger, read_ledger

from . import harness as stages
from .clock import Clock
from .disk import Disk
from .hands import _ids_in, _wait_until_it_goes_on, damage_in, ids_of
from .harness import Harness
from .oracle import BOOKS, CUT, Evidence, Kill, compare, most_at_once
from .plan import Plan
from .points import Arms
from .server import Served
from .strikes import STRIKES, WORLD, rounds
from .writers import Folder

COUNTS = QueueStats(4, 2, 0, 0, 1, 1)


def evidence() -> Evidence:
    """Four events that were acknowledged, one at each place, and a call that was killed before it wrote anything."""
    return Evidence(
        entries=Entries({"a", "b", "c", "killed"}, 1, ["a", "b", "c", "by-library"]),
        database=["a", "b"],
        received={"a": 2, "b": 1},
        parked=["c"],
        dead=["by-library"],
        pending=[],
        given_up=[],
        counts=[COUNTS],
        struck={},
        served=[Served(1.0, 1.1, "one", is_delivery=True), Served(3.0, 3.1, "two", is_delivery=True)],
        one_at_a_time=True,
        kills=[Kill(2.0, is_plain=True)],
    )


def counts(**numbers: int) -> list[QueueStats]:
    return [COUNTS._replace(**cast("Any", numbers))]


def problem(changed: Evidence) -> str:
    """The one problem that the oracle sees."""
    [found] = compare(changed).problems
    return found


def test_a_world_in_which_all_is_well_has_no_problems() -> None:
    comparison = compare(evidence())
    assert comparison.problems == ()
    assert (comparison.attempted, comparison.acknowledged, comparison.found) == (5, 4, 4)
    assert (comparison.sent_again, comparison.most_at_once) == (1, 1)
    assert list(comparison.takeovers) == pytest.approx([1.1])


def test_an_event_that_the_server_accepted_and_its_database_does_not_hold_is_lost() -> None:
    comparison = compare(replace(evidence(), database=["a"], counts=counts(accepted=3, delivered=1)))
    assert comparison.lost == ("b",)
    assert comparison.problems == ("1 acknowledged events are LOST: b",)


def test_an_event_that_nobody_tracked_is_found() -> None:
    changed = replace(evidence(), database=["a", "b", "from nowhere"], counts=counts(accepted=5, delivered=3))
    assert problem(changed) == "1 events were found that nobody tracked"


def test_an_id_of_the_librarys_that_a_killed_call_could_not_write_down_is_not_held_against_it() -> None:
    entries = Entries({"a", "b", "c", "killed"}, 2, ["a", "b", "c", "by-library"])
    known = replace(evidence(), entries=entries, database=["a", "b", "?"], counts=counts(accepted=5, delivered=3))
    assert compare(known).problems == ()


def test_an_attempted_event_may_be_there_or_not() -> None:
    changed = replace(evidence(), database=["a", "b", "killed"], counts=counts(accepted=5, delivered=3))
    assert compare(changed).problems == ()


def test_what_a_strike_destroyed_is_counted_apart_and_must_be_told() -> None:
    gone = [({"a", "c"}, True), ({"a", "b"}, False)]
    changed = replace(evidence(), database=["a"], struck={"b": BOOKS}, books_gone=gone, counts_are_exact=False)
    assert compare(changed).destroyed == {BOOKS: 1}
    assert problem(changed) == "1 events were in books that are gone, and nobody said so"
    assert compare(replace(changed, books_gone=[({"a", "b"}, True)])).problems == ()


def test_what_was_cut_off_must_be_told_by_its_writer_or_counted_as_damage_of_that_segment() -> None:
    cut = {"one": {"b"}, "other": {"a", "killed"}}
    struck = {"b": CUT, "a": CUT, "killed": CUT}
    changed = replace(evidence(), database=["a"], struck=struck, cut=cut, counts_are_exact=False)
    assert compare(changed).destroyed == {CUT: 1}
    silence = "1 events of segment one were destroyed, and 0 are counted at the most"
    assert problem(changed) == silence
    assert problem(replace(changed, told={"other": 1}, damage=[{"other": 1}])) == silence
    assert compare(replace(changed, told={"one": 1})).problems == ()
    assert compare(replace(changed, damage=[{}, {"one": 1}])).problems == ()
    both = replace(changed, database=[], damage=[{"other": 1}, {"other": 1}])
    assert len(compare(both).problems) == 1
    two = replace(both, cut={"one": {"a", "b"}}, damage=[{"one": 1}, {"one": 1}])
    assert problem(two) == "2 events of segment one were destroyed, and 1 are counted at the most"


def test_a_dead_letter_of_damage_that_no_strike_has_done_is_found() -> None:
    changed = replace(evidence(), cut={"one": {"b"}}, damage=[{"one": 2}])
    assert problem(changed) == "2 dead letters are of damage in one, of which 1 events were cut off"
    assert compare(replace(changed, damage=[{"one": 1}, {"one": 1}])).problems == ()


def test_a_segment_that_was_cut_off_and_written_on_becomes_counted_damage_and_no_event_that_nobody_tracked(
    tmp_path: Path,
) -> None:
    from tests.rig import Rig

    with FakeLotus("L24", api_key="test-key") as server:
        rig = Rig(server, tmp_path / "queue")
        client = rig.client()
        ids = [client.track_event(customer_id="c", event_name="e") for _ in range(4)]
        [name] = rig.directory.segments()
        path = Path(rig.directory.journal, name)
        os.truncate(path, len(path.read_bytes()) // 2)
        [pair] = client._tracker.pairs
        pair.appender._trust(time.monotonic())  # it has just looked
        ids.append(client.track_event(customer_id="c", event_name="e"))
        assert client.drain().complete
        rig.stop()
        [(segment, letters)] = damage_in(rig.directory).items()
        assert segment == name
        found = {*server.database, *ids_of(rig.directory, "dead")}
        assert found < set(ids)
        assert letters == len(ids) - len(found)


def test_what_is_behind_an_earlier_cut_is_known_to_be_struck_too(tmp_path: Path) -> None:
    queue = QueueDirectory(tmp_path / "queue")
    queue.prepare()
    writer = SegmentWriter(queue, bytes(8), sync=False)
    for number in range(4):
        writer.append(record(f"id-{number}"))
    os.truncate(writer.path, 40)  # in its header
    for number in (4, 5):
        writer.append(record(f"id-{number}"))
    assert _ids_in(Path(writer.path), beyond=60) == ["id-4", "id-5"]
    assert _ids_in(Path(writer.path), beyond=writer.end - 1) == ["id-5"]
    writer.seal()


def test_a_writer_goes_on_where_it_did_not_write_before_and_has_told_when_its_next_call_begins(tmp_path: Path) -> None:
    queue = QueueDirectory(tmp_path / "queue")
    queue.prepare()
    full, in_use = (SegmentWriter(queue, bytes(8), sync=False) for _ in range(2))
    known = [Path(full.path), Path(in_use.path)]
    calls, writers = iter([0, 1, 1, 2]), [full, in_use]
    waits = []

    def wait(condition: Callable[[], object], _patience: float) -> bool:
        waits.append(condition)
        assert not condition()
        if len(waits) == 1:
            writers.append(SegmentWriter(queue, bytes(8), sync=False))
        assert condition()
        return True

    disk = Disk(tmp_path, can_be_filled=False)
    harness = SimpleNamespace(queue=queue, disk=disk, wait=wait, calls=lambda _pid: next(calls))
    _wait_until_it_goes_on(cast("Harness", harness), os.getpid(), known)
    assert len(waits) == 2
    for each in writers:
        each.seal()


def test_two_requests_at_once_are_found_where_the_server_loses_events_to_them() -> None:
    served = [*evidence().served, Served(3.05, 3.2, "three", is_delivery=True)]
    assert most_at_once(served) == 2
    assert problem(replace(evidence(), served=served)).startswith("2 requests at once")
    assert compare(replace(evidence(), served=served, one_at_a_time=False)).problems == ()


def test_a_kill_after_which_nobody_delivers_is_found() -> None:
    old = replace(evidence().served[1], connection="one")  # what the killed one had sent
    changed = replace(evidence(), served=[evidence().served[0], old])
    assert problem(changed) == "after 1 kills of a flusher nothing was delivered any more"


@pytest.mark.parametrize("number", ["accepted", "delivered", "parked", "dead_lettered"])
@pytest.mark.parametrize("change", [-1, 1])
def test_numbers_that_do_not_add_up_are_found(number: str, change: int) -> None:
    changed = replace(evidence(), counts=counts(**{number: getattr(COUNTS, number) + change}))
    assert any("conservation" in found for found in compare(changed).problems)


def test_numbers_that_add_up_to_something_else_than_what_is_found_are_no_good() -> None:
    changed = replace(evidence(), counts=counts(accepted=5, delivered=3))
    assert problem(changed) == "the queue says that it accepted 5 events, and 4 are found"


def test_an_id_that_two_calls_returned_and_one_that_is_stored_twice_are_found() -> None:
    entries = replace(evidence().entries, returned=["a", "b", "c", "by-library", "b"])
    assert problem(replace(evidence(), entries=entries)) == "1 ids were returned by more than one call: b"
    both = replace(evidence(), dead=["c"], database=["a", "b", "by-library"])
    assert problem(both) == "1 events are parked and dead letters: c"


def test_events_that_are_still_pending_are_not_lost_but_a_problem() -> None:
    changed = replace(evidence(), database=["a"], pending=["b"], counts=counts(delivered=1, pending=1))
    assert compare(changed).lost == ()
    assert problem(changed).startswith("1 events are still pending after the drain: b")


def test_a_drain_that_does_not_come_to_an_end_is_a_problem() -> None:
    assert problem(replace(evidence(), not_drained=["slow"])) == "the queue could not be drained: slow"


def test_what_was_in_memory_alone_is_counted_apart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for id_ in ("a", "b", "c", "killed", "in memory"):
        ledger.intend(id_)
    ledger.intend(None)
    for id_ in ("a", "b", "c", "by-library"):
        ledger.returned(id_)
    ledger.kept("in memory")
    ledger.kept("a")  # and then written
    comparison = compare(replace(evidence(), entries=read_ledger(tmp_path)))
    assert comparison.problems == ()
    assert comparison.lost_from_memory == 1


def harness_of_nobody(folder: Path) -> Harness:
    run = Folder(folder / "run")
    run.make()
    nobody = SimpleNamespace(look=lambda **_: None, has_failed=lambda: False, flushers=list)
    return Harness(
        Plan(seed=1),
        folder=run,
        server=cast("Any", SimpleNamespace(set_faults=lambda _: None)),
        disk=Disk(folder, can_be_filled=False),
        queue_dir=folder / "queue",
        processes=cast("Any", nobody),
        arms=Arms(folder / "arms"),
        clock=Clock(folder / "clock"),
    )


def test_books_that_are_gone_are_told_of_also_by_a_flusher_that_finds_those_another_one_has_just_begun(
    tmp_path: Path,
) -> None:
    harness = harness_of_nobody(tmp_path)
    queue = QueueDirectory(tmp_path / "queue")
    queue.prepare()

    def told_by(*lines: str) -> set[str]:
        before = harness.said_of_books()
        with Path(queue.log).open("a") as log:
            log.writelines(f"{line}\n" for line in lines)
        return harness.said_of_books() - before

    counted = "in the former ones, at the last count, parked events: 6, dead letters: 9"
    assert told_by(f"1 the books x are gone, and new ones were begun; {counted}; those whose segments are gone …")
    assert told_by(f"2 the books x are older than the last count; {counted}, now 0 and 0; those whose segments …")
    assert not told_by("3 the books x were written back: they were removed or replaced while in use")


def test_a_queue_that_does_not_get_empty_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.rig import Rig

    monkeypatch.setattr(stages, "STALL", 0.05)
    Rig(cast("Any", SimpleNamespace(host="")), tmp_path / "queue").write(record("stuck"))
    harness = harness_of_nobody(tmp_path)
    harness.get_well()
    [found] = harness.tally.problems
    assert "after all was well events were still pending: QueueStats(accepted=1, delivered=0, handed_over=0," in found


def test_while_a_start_is_put_off_since_flushers_were_killed_no_time_counts_and_of_later_failures_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "STALL", 0.05)
    harness = harness_of_nobody(tmp_path)
    harness.queue.prepare()
    starting = Starting(harness.queue)

    def put_off(seconds: float, failures: int) -> float:
        with starting.changing() as notes:
            assert notes is not None
            notes.next_start, notes.failures = since_boot() + seconds, failures
            return notes.next_start

    begins_at = put_off(0.3, failures=4)
    assert harness.comes(lambda: since_boot() > begins_at)
    assert not harness.comes(lambda: put_off(3600.0, failures=starting.read().failures + 1) < 0)


def test_the_strikes_are_those_of_the_seed_and_none_is_left_out_for_long() -> None:
    def dealt(seed: int) -> list[str]:
        plan, chance = Plan(seed=seed), Harness.chance_of(seed)
        found = rounds(plan, chance)
        return [name for _ in range(40) for name in next(found)]

    assert dealt(7) == dealt(7) != dealt(8)
    assert set(dealt(7)) == {*STRIKES, *WORLD}
