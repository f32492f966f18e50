"""The parts of the demo that need no demo: its plan, its records, its watch over leaders, its table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lotus_durable import Client
from lotus_durable.cli.demo import evidence as found
from lotus_durable.cli.demo import report, succession
from lotus_durable.cli.demo.crew import Crew, DemoFailed, clean_environment
from lotus_durable.cli.demo.judge import judge
from lotus_durable.cli.demo.plan import NEWCOMER, STRANGER, Plan, customer_of
from lotus_durable.cli.demo.records import Accepted, RecordFile
from lotus_durable.cli.demo.stage import Performance
from lotus_durable.cli.demo.succession import Succession
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Heartbeat, write_heartbeat
from lotus_durable.testing import FakeLotus, RefuseEvents

from .conftest import wait_until
from .test_demo_judge import books, evidence

PLAN = Plan(workers=3, events=1000, kills=7, seed=1)


def test_the_quotas_add_up() -> None:
    assert [PLAN.quota(slot) for slot in range(3)] == [334, 333, 333]


@pytest.mark.parametrize(("kills", "leaders"), [(0, 0), (1, 1), (2, 1), (5, 2), (10, 4), (50, 20)])
def test_some_kills_are_of_leaders_and_all_come_while_events_are_tracked(kills: int, leaders: int) -> None:
    planned = Plan(workers=4, events=1000, kills=kills, seed=1).kill_list()
    assert len(planned) == kills
    assert sum(kill.leader for kill in planned) == leaders
    assert [kill.due for kill in planned] == sorted(kill.due for kill in planned)
    assert all(0 < kill.due < 1 for kill in planned)


def test_refused_ids_are_different_repeatable_and_within_the_quota() -> None:
    ids = PLAN.all_refused_ids()
    assert len(set(ids)) == len(ids) == 15
    assert ids == PLAN.all_refused_ids()
    assert Plan(workers=3, events=1000, kills=7, seed=2).all_refused_ids() != ids
    assert Plan(workers=2, events=20, kills=0, seed=1).refused_ids(0).keys() == {5}


def test_no_refused_event_is_of_a_customer_that_is_not_there() -> None:
    unusual = {NEWCOMER, STRANGER}
    assert not [position for position in PLAN.refused_ids(0) if customer_of(position) in unusual]
    assert unusual < {customer_of(position) for position in range(PLAN.quota(0))}


def test_a_record_is_read_as_it_grows_and_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "record"
    accepted = Accepted()
    record = RecordFile(os.fspath(path))
    record.read_into(accepted)
    assert record.lines == 0
    path.write_text("a 1000\nb 30")
    record.read_into(accepted)
    assert accepted.ids == ["a"]
    with path.open("a") as file:
        file.write("00\nc 2")
    record.read_into(accepted)
    assert (accepted.ids, accepted.nanoseconds, record.lines) == (["a", "b"], [1000, 3000], 2)


def test_percentiles_are_in_microseconds() -> None:
    accepted = Accepted(nanoseconds=[1000 * number for number in range(100, 0, -1)])
    assert accepted.percentile(0.5) == 51
    assert accepted.percentile(0.99) == 100
    assert Accepted().percentile(0.5) == 0


def _beat(directory: QueueDirectory, pid: int) -> None:
    write_heartbeat(directory, Heartbeat(pid, "here", "idle", None, 0.0, time.time(), None))


def test_a_takeover_ends_with_the_first_heartbeat_of_another_process(queue_dir: Path) -> None:
    directory = QueueDirectory(queue_dir)
    directory.prepare()
    watch = Succession(directory)
    assert watch.leader() is None
    _beat(directory, 1)
    assert (watch.leader(), watch.look()) == (1, None)
    watch.leader_is_killed(1)
    assert watch.look() is None
    assert watch.is_open()
    _beat(directory, 2)
    took = watch.look()
    assert took is not None
    assert watch.takeovers == [took]
    assert not watch.is_open()


def test_a_takeover_that_never_comes_is_counted(queue_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = QueueDirectory(queue_dir)
    directory.prepare()
    watch = Succession(directory)
    _beat(directory, 1)
    monkeypatch.setattr(succession, "_PATIENCE", 0.0)
    watch.leader_is_killed(1)
    wait_until(lambda: watch.look() is None and not watch.is_open(), "the watch to give up")
    assert (watch.failures, watch.takeovers) == (1, [])


@pytest.mark.fake_lotus("L22", customers=["known"])
def test_evidence_is_taken_from_the_records_and_not_from_the_counts(queue_dir: Path, fake_lotus: FakeLotus) -> None:
    with Client(api_key="test-key", host=fake_lotus.host, queue_dir=queue_dir, flusher="external") as client:
        track: Callable[[str], str] = lambda customer: client.track_event(customer_id=customer, event_name="e")  # noqa: E731
        fake_lotus.fail_next(RefuseEvents("No customer_id provided"))
        refused = track("known")
        assert client.drain(30).complete
        parked = track("unknown")
        delivered = track("known")
        assert client.drain(30).complete
        pending = [track("known") for _ in range(3)]
        directory = QueueDirectory(queue_dir)
        assert found.dead_ids(directory) == [refused]
        assert found.parked_ids(directory) == [parked]
        assert found.pending_ids(directory) == pending
        assert list(fake_lotus.times_received) == [delivered]


def test_a_worker_that_cannot_work_ends_the_demo_with_its_last_word(tmp_path: Path) -> None:
    with Crew(PLAN, tmp_path, tmp_path / "queue", host="nonsense") as crew:

        def has_failed() -> bool:
            try:
                crew.look()
            except DemoFailed as error:
                return "ConfigurationError: argument host" in str(error)
            return False

        wait_until(has_failed, "a worker to end with an error")


def test_processes_of_the_demo_know_no_settings_and_no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTUS_HOST", "https://production.example")
    environment = clean_environment({"LOTUS_API_KEY": "k"})
    assert [name for name in environment if name.startswith("LOTUS_")] == ["LOTUS_API_KEY"]
    assert environment["no_proxy"] == "*"


def _performance(**seen: Any) -> Performance:
    fields: dict[str, Any] = {
        "evidence": evidence(),
        "accepted": Accepted(ids=["a"], nanoseconds=[12_000]),
        "worker_kills": 2,
        "leader_kills": 1,
        "recycled": 0,
        "takeovers": (0.2, 0.4),
        "requests": 9,
        "failures": {"Status": 3},
    }
    return Performance(**{**fields, **seen})


def test_the_table_has_the_figures() -> None:
    performance = _performance()
    figures = {name: figure for name, figure, _ in report.rows(PLAN, judge(performance.evidence), performance)}
    assert figures == {
        "accepted": "4",
        "delivered": "2",
        "parked": "1",
        "dead-lettered": "1",
        "lost": "0",
        "duplicates dropped": "1",
        "kills survived": "3",
        "server failures": "3",
        "slowest takeover": "400 ms",
        "enqueue p50": "12 µs",
        "enqueue p99": "12 µs",
    }


def test_what_is_pending_is_in_the_table_only_when_something_is() -> None:
    performance = _performance(evidence=evidence(received={"a": 2}, pending=["b"]), takeovers=())
    figures = {name: figure for name, figure, _ in report.rows(PLAN, judge(performance.evidence), performance)}
    assert figures["pending"] == "1"
    assert figures["slowest takeover"] == "none"


@pytest.mark.parametrize("with_colour", [False, True])
def test_the_table_and_the_verdict_are_printed(with_colour: bool, capsys: pytest.CaptureFixture[str]) -> None:
    report.say_table([("lost", "0", "remark")], "Nothing was lost.", is_good=True, with_colour=with_colour)
    output = capsys.readouterr().out
    assert "lost" in output
    assert "remark" in output
    assert "Nothing was lost." in output


def test_a_terminal_without_rich_gets_the_plain_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    report.say_table([("lost", "0", "")], "Nothing was lost.", is_good=True, with_colour=True)
    assert capsys.readouterr().out == "lost  0\n\nNothing was lost.\n"


def test_the_verdict_names_the_problems() -> None:
    bad = evidence(received={"a": 2}, books=books(accepted=4, delivered=2, parked=1, dead_lettered=1))
    verdict = report.verdict_in_words(judge(bad), _performance(evidence=bad), "1 s, seed 1")
    assert verdict.splitlines()[0] == "NOT as promised: 1 accepted events are LOST: b"
    assert "Nothing was lost" not in verdict


def test_the_verdict_tells_of_events_that_were_accepted_but_not_recorded() -> None:
    more = evidence(
        received={"a": 2, "b": 1, "x": 1},
        kills=1,
        books=books(accepted=5, delivered=3, parked=1, dead_lettered=1),
    )
    lines = report.verdict_in_words(judge(more), _performance(evidence=more), "1 s, seed 1").splitlines()
    assert lines[0] == "Nothing was lost. (1 s, seed 1)"
    assert lines[1].endswith("5 accepted = 3 delivered + 1 parked + 1 dead-lettered.")
    assert lines[2].startswith("(1 of these")
