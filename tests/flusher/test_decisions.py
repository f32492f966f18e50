"""Who makes way for whom, and who hangs: the decisions by themselves, at any moment."""

from __future__ import annotations

from typing import Any

import pytest

from lotus_durable.config import Constants
from lotus_durable.flusher import hung
from lotus_durable.flusher.making_way import asks_to_make_way
from lotus_durable.flusher.starting import Notes
from lotus_durable.queue.heartbeat import Beat, Program

THEIRS = Program("1.0", "/srv/app/lotus_durable", b"settings", b"key", b"surroundings", began=1000.0)
CONSTANTS = Constants(unreachable_before_making_way=30.0, making_way_interval=300.0)
NOW = 5000.0


def beat(**changes: Any) -> Beat:
    first = Beat(
        pid=1, pid_namespace=2, start_time=3, uid=4, hostname="host", boot="boot", kind="auto", program=THEIRS, beats=1,
        at=NOW, state="sending",
    )  # fmt: skip
    return first._replace(**changes)


def asks(ours: Program, *, notes: Notes | None = None, has_asked: bool = False, now: float = NOW, **of: Any) -> bool:
    return asks_to_make_way(beat(**of), ours, notes or Notes(), CONSTANTS, has_asked=has_asked, now=now)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, False),
        ({"package": "/srv/other"}, True),
        ({"settings": b"others"}, True),
        ({"key": b"other"}, True),
        ({"surroundings": b"others"}, False),
        ({"version": "1.1"}, False),
        ({"version": "1.1", "package": "/srv/other"}, True),
        ({"package": "/srv/other", "began": 1000.0}, False),
        ({"package": "/srv/other", "began": 999.0}, False),
    ],
)
def test_who_began_later_and_is_another_program_asks(change: dict[str, Any], expected: bool) -> None:
    ours = THEIRS._replace(**{"began": 2000.0, **change})
    assert asks(ours) is expected
    assert asks(ours, notes=Notes(newest_version=ours.version, newest_at=NOW)) is expected
    assert not asks(ours, has_asked=True), "once"


def test_an_older_version_asks_only_when_no_newer_one_has_looked_for_a_minute() -> None:
    older = THEIRS._replace(version="0.9", began=2000.0)
    other_settings = older._replace(settings=b"others")
    for ours in (older._replace(package="/srv/other"), other_settings):
        assert not asks(ours, notes=Notes(newest_at=NOW - 60.0))
        assert asks(ours, notes=Notes(newest_at=NOW - 60.1))


def test_who_may_reach_the_server_from_elsewhere_asks_a_flusher_that_does_not_once_in_a_while() -> None:
    elsewhere = THEIRS._replace(surroundings=b"others")
    notes = Notes()
    assert not asks(elsewhere, notes=notes)
    assert not asks(elsewhere, notes=notes, unreachable_since=NOW - 29.9)
    assert not asks(THEIRS, notes=notes, unreachable_since=NOW - 1000.0), "it would reach no more"
    assert asks(elsewhere, notes=notes, unreachable_since=NOW - 30.0, has_asked=True)
    assert not asks(elsewhere, notes=notes, unreachable_since=NOW - 30.0, now=NOW + 299.9)
    assert asks(THEIRS._replace(surroundings=b"third"), notes=notes, unreachable_since=NOW - 30.0)
    assert asks(elsewhere, notes=notes, unreachable_since=NOW - 30.0, now=NOW + 300.0)
    assert notes.tried.keys() == {b"others"}, "what is long past is forgotten"


def test_who_has_another_key_asks_a_flusher_whose_key_is_refused_once_in_a_while() -> None:
    other = THEIRS._replace(key=b"other", began=500.0)
    notes = Notes()
    assert not asks(other, notes=notes)
    assert not asks(THEIRS, notes=notes, key_refused=True)
    assert asks(other, notes=notes, key_refused=True)
    assert not asks(other, notes=notes, key_refused=True, now=NOW + 299.0)
    assert asks(THEIRS._replace(key=b"third", began=500.0), notes=notes, key_refused=True, now=NOW + 299.0)
    assert asks(other, notes=notes, key_refused=True, now=NOW + 301.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(hung, "since_boot", lambda: now[0])
    return now


def test_the_time_for_which_a_beat_is_seen_grows_by_looks_and_by_little_in_a_long_gap(clock: list[float]) -> None:
    """In a long gap all who look may have been stopped, as the flusher was."""
    notes = Notes()
    assert hung.note_look(notes, beat()).elapsed == 0.0
    seconds = []
    for moment in (100.3, 100.6, 101.6, 109.6):
        clock[0] = moment
        seconds.append(round(hung.note_look(notes, beat()).elapsed, 3))
    assert seconds == [0.0, 0.6, 1.6, 4.6]
    for other in (beat(beats=2), beat(pid=9, beats=2), beat(pid=9, beats=2, start_time=9)):
        assert hung.note_look(notes, other).elapsed == 0.0
        clock[0] += 1.0
        assert hung.note_look(notes, other).elapsed == 1.0


def test_who_outlives_the_kill_is_named_when_it_had_the_time_to_die(clock: list[float]) -> None:
    clock[0] += 1.9
    assert hung.why_it_lives(beat(), 100.0) is None
    clock[0] += 0.1
    assert "process 1 on host" in str(hung.why_it_lives(beat(), 100.0))


def test_where_processes_cannot_be_compared_the_silent_one_is_named_and_not_said_to_be_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a chroot without /proc."""
    monkeypatch.setattr(hung, "process_status", lambda _: None)
    monkeypatch.setattr(hung, "pid_namespace", lambda: 0)
    why = hung.end(beat(pid=1, start_time=0, pid_namespace=0))
    assert why is not None
    assert why.endswith("shows no sign of life; end it by `kill -KILL 1`")
