"""When a flusher leaves, and when it goes on after all: the decisions by themselves, without a server."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.clock import boot_id, since_boot
from lotus_durable.config import Config, Constants
from lotus_durable.delivery.control import Renewed, Stopped
from lotus_durable.errors import ConfigurationError
from lotus_durable.flusher import life
from lotus_durable.flusher.life import Flusher
from lotus_durable.flusher.lock import FlusherLock
from lotus_durable.flusher.starting import Starting
from lotus_durable.flusher.surroundings import pid_namespace, process_status, this_program
from lotus_durable.queue import requests
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Settlement
from tests.queue.faults import refusing
from tests.queue.segments import open_sqlite, record, write_segment

from .test_decisions import beat


class Life:
    """A flusher that holds nothing yet, and what is around it."""

    def __init__(self, root: Path) -> None:
        self.directory = QueueDirectory(root)
        self.directory.prepare()
        self.config = Config(self.directory.root, api_key="key", constants=Constants(leaving_wait=0.3))
        self.refusal: Exception | None = None
        self.why: str | None = None
        self.waits: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.flusher = Flusher(self._config, kind="auto", ending=lambda: self.why, destination=None)
        self.other = FlusherLock(self.directory)

    def slept(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.meanwhile()

    def held(self, **before: Any) -> Any:
        """Have the flusher hold the lock, after one with this last beat, and let go of it again; return its control."""
        assert self.flusher.lock.acquire()
        self.flusher.control = self.flusher.make_control(beat(boot=boot_id(), **before) if before else None)
        self.flusher.lock.release()
        return self.flusher.control

    def is_held(self) -> bool:
        return self.flusher.lock.is_held()

    def _config(self) -> Config:
        if self.refusal is not None:
            raise self.refusal
        return self.config


@pytest.fixture
def alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    alive = Life(tmp_path / "queue")
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        alive.slept(seconds)

    monkeypatch.setattr(life, "monotonic", lambda: now[0])
    monkeypatch.setattr(life.time, "sleep", sleep)  # type: ignore[attr-defined]
    yield alive
    alive.flusher.lock.release()
    alive.other.release()


# Leaving


def test_it_waits_longer_than_a_look_is_trusted_and_leaves_when_nothing_came(alive: Life) -> None:
    alive.held()
    assert not alive.flusher._something_is_left()
    assert sum(alive.waits) == pytest.approx(0.3)
    assert not alive.is_held()


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_what_came_while_it_left_it_stays_for(alive: Life, backend: str) -> None:
    alive.held()

    def track() -> None:
        if len(alive.waits) == 1:
            if backend == "journal":
                write_segment(alive.directory, [record(1)]).seal()
            else:
                appender = open_sqlite(alive.directory, lambda _: None)
                appender.append(record(1), 0.0)
                appender.close()

    alive.meanwhile = track
    assert alive.flusher._something_is_left()
    assert alive.is_held()


def test_what_it_has_met_and_left_alone_it_does_not_stay_for(alive: Life) -> None:
    alive.held()
    write_segment(alive.directory, [record(1), record(2)]).seal()
    alive.flusher._held = 2
    assert not alive.flusher._something_is_left()
    alive.flusher._held = 1
    assert alive.flusher._something_is_left()


def another_on_its_way(alive: Life) -> int:
    """Begin the start of another flusher; return what shows it: closed, it has come or died."""
    starting = Starting(alive.directory)
    start = starting.begin()
    assert start is not None
    starting.note(start, 0)
    return start


def test_where_another_one_is_on_its_way_it_is_left_the_lock(alive: Life) -> None:
    """Of two that come one after the other the first has made way already, and the second is about to take it."""
    alive.held()
    write_segment(alive.directory, [record(1)]).seal()
    start = another_on_its_way(alive)

    def take() -> None:
        if sum(alive.waits) > 1.0 and not alive.other.is_held():
            assert not alive.is_held()
            assert alive.other.acquire()
            os.close(start)

    alive.meanwhile = take
    assert not alive.flusher._something_is_left()
    assert alive.other.is_held()


def test_where_another_one_was_on_its_way_and_died_it_stays_for_what_came(alive: Life) -> None:
    alive.held()
    write_segment(alive.directory, [record(1)]).seal()
    start = another_on_its_way(alive)
    alive.meanwhile = lambda: os.close(start) if 1.0 < sum(alive.waits) < 1.15 else None
    assert alive.flusher._something_is_left()


def test_where_another_has_the_lock_by_then_it_leaves(alive: Life) -> None:
    alive.held()
    write_segment(alive.directory, [record(1)]).seal()
    assert alive.other.acquire()
    assert not alive.flusher._something_is_left()


def test_where_the_directory_is_gone_it_leaves_and_makes_nothing(alive: Life) -> None:
    alive.held()
    alive.meanwhile = lambda: shutil.rmtree(alive.directory.root, ignore_errors=True)
    assert not alive.flusher._something_is_left()
    assert not os.path.exists(alive.directory.root)
    assert len(alive.waits) == 1, "it does not wait for the rest"


def test_where_it_cannot_be_told_whether_something_is_left_it_leaves(alive: Life) -> None:
    alive.held()
    with refusing("listdir", errno.EIO):
        assert not alive.flusher._something_is_left()
    assert not alive.is_held()


def test_where_the_directory_goes_in_its_last_moment_it_leaves(alive: Life) -> None:
    alive.held()

    def remove() -> None:
        if len(alive.waits) == 3:
            shutil.rmtree(alive.directory.root)

    alive.meanwhile = remove
    assert not alive.flusher._something_is_left()
    assert not os.path.exists(alive.directory.root)


def test_who_is_told_to_end_while_it_leaves_does_so_and_lets_go_of_the_lock(
    alive: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive.held()
    write_segment(alive.directory, [record(1)]).seal()
    real = alive.flusher.lock.acquire

    def acquire() -> bool:
        alive.why = "SIGTERM"  # in this very moment
        return real()

    monkeypatch.setattr(alive.flusher.lock, "acquire", acquire)
    assert not alive.flusher._something_is_left()
    assert not alive.is_held()
    alive.waits.clear()
    assert not alive.flusher._something_is_left()
    assert alive.waits == [], "it was told before"


def test_a_request_to_stop_that_comes_while_it_leaves_means_it_too(alive: Life) -> None:
    alive.held()
    write_segment(alive.directory, [record(1)]).seal()
    assert not alive.flusher._must_end()
    requests.ask(alive.directory, "stop")
    assert alive.flusher._must_end()
    assert not alive.flusher._something_is_left()


def test_before_it_has_held_the_lock_only_its_own_program_can_tell_it_to_end(alive: Life) -> None:
    requests.ask(alive.directory, "stop")
    assert not alive.flusher._must_end()
    alive.why = "SIGTERM"
    assert alive.flusher._must_end()


# A pause


def test_after_a_pause_it_goes_on_when_whoever_asked_for_it_has_had_the_lock(alive: Life) -> None:
    alive.held()

    def changes_the_books() -> None:
        if len(alive.waits) == 1:
            assert alive.other.acquire()
        elif len(alive.waits) == 3:
            alive.other.release()

    alive.meanwhile = changes_the_books
    assert alive.flusher._has_lock_again()
    assert alive.is_held()
    assert len(alive.waits) == 3


def test_where_nobody_takes_the_lock_it_goes_on_after_two_seconds(alive: Life) -> None:
    alive.held()
    assert alive.flusher._has_lock_again()
    assert sum(alive.waits) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(("changes", "expected"), [({}, False), ({"kind": "caller"}, True), ({"state": "ended"}, True)])
def test_where_another_flusher_has_the_lock_after_the_pause_it_leaves(
    alive: Life, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: bool
) -> None:
    alive.held()
    assert alive.other.acquire()
    monkeypatch.setattr(life, "read_beat", lambda _: beat(**changes))
    alive.meanwhile = alive.other.release
    assert alive.flusher._has_lock_again() is expected
    assert alive.is_held() is expected


def test_a_pause_ends_with_the_directory_and_with_the_word_to_end(alive: Life) -> None:
    alive.held()
    alive.why = "SIGTERM"
    assert not alive.flusher._has_lock_again()
    alive.why = None
    shutil.rmtree(alive.directory.root)
    assert not alive.flusher._has_lock_again()
    assert alive.waits == []


def test_only_who_was_asked_to_pause_and_not_to_end_is_paused(alive: Life) -> None:
    assert not alive.flusher._is_paused()
    control = alive.held()
    assert not alive.flusher._is_paused()
    control.is_paused = True
    assert alive.flusher._is_paused()
    alive.why = "SIGTERM"
    assert not alive.flusher._is_paused()


# What it goes on with


def test_it_goes_on_with_what_the_last_flusher_has_told_and_moments_of_another_boot_it_forgets(alive: Life) -> None:
    kept: dict[str, Any] = {
        "last_delivery": 1.0, "last_error": "away", "last_error_at": 2.0, "asked": 3, "unsettled": b"abcd",
        "foreign_keys": b"12345678",
    }  # fmt: skip
    of_this_boot: dict[str, Any] = {"trouble_since": 4.0, "caught_up_at": 5.0, "in_flight": 6.0}
    assert alive.flusher.lock.acquire()
    for boot, more in ((boot_id(), of_this_boot), ("another", dict.fromkeys(of_this_boot))):
        before = beat(**{**kept, **of_this_boot, "boot": boot, "reason": "away", "beats": 9})
        found = alive.flusher.make_control(before).last_beat
        for name, value in {**kept, **more}.items():
            assert getattr(found, name) == value, name
        assert (found.reason, found.beats, found.state, found.boot) == (None, 0, "starting", boot_id())


def test_its_beat_names_this_very_process_and_counts_on_when_it_begins_anew(alive: Life) -> None:
    """Who ends a flusher that hangs compares all of it first."""
    first = alive.held()
    found, status = first.last_beat, process_status("self")
    assert status is not None
    assert (found.pid, found.start_time, found.uid) == (os.getpid(), status.start_time, os.geteuid())
    assert (found.pid_namespace, found.hostname) == (pid_namespace(), socket.gethostname())
    assert (found.kind, found.program) == ("auto", this_program(alive.config))
    assert found.at > 0
    first.beat()
    assert alive.held().last_beat.beats == first.last_beat.beats > 0


def test_without_a_last_beat_it_is_not_known_what_was_sent_and_with_one_it_is(alive: Life) -> None:
    write_segment(alive.directory, [record(1), record(2)]).seal()
    assert alive.flusher.lock.acquire()
    Consumer(alive.directory, lambda _: None).close()
    for before, expected in ((None, True), (beat(boot=boot_id()), False)):
        control = alive.flusher.make_control(before)
        consumer = alive.flusher.open_consumer(control, before)
        chunk = consumer.read(1)
        assert chunk is not None
        consumer.settle(Settlement(through={chunk.source: chunk.positions[-1]}, delivered=1))
        consumer.close()
        consumer = alive.flusher.open_consumer(control, before)
        assert consumer.may_repeat is expected
        consumer.caught_up()
        consumer.close()


def test_what_is_asked_of_it_in_the_moment_in_which_it_begins_anew_is_heard(alive: Life) -> None:
    assert alive.flusher.lock.acquire()
    control = alive.flusher.make_control(None)
    requests.ask(alive.directory, "make way")
    control.renew("the options were read again")
    with pytest.raises(Renewed):
        control.check()
    control.begin_anew(alive.config, this_program(alive.config))
    with pytest.raises(Stopped, match="another program flushes from now on"):
        control.check()


@pytest.mark.parametrize(
    ("changes", "is_new", "expected"),
    [({}, True, True), ({}, False, False), ({"boot": "another"}, True, False), ({"in_flight": 7.0}, True, False)],
)
def test_beside_new_books_the_last_beat_says_since_when_something_may_be_in_flight(
    alive: Life, changes: dict[str, Any], is_new: bool, expected: bool
) -> None:
    assert alive.flusher.lock.acquire()
    if not is_new:
        Consumer(alive.directory, lambda _: None).close()
    before = beat(**{"boot": boot_id(), "at": since_boot(), **changes})
    control = alive.flusher.make_control(before)
    in_flight = control.last_beat.in_flight
    alive.flusher.open_consumer(control, before).close()
    assert (control.last_beat.in_flight == before.at) is expected
    assert expected or control.last_beat.in_flight == in_flight


def test_requests_of_before_it_took_the_lock_are_not_for_it(alive: Life) -> None:
    requests.ask(alive.directory, "stop")
    control = alive.held()
    control.asked()
    assert control.ending() is None
    requests.ask(alive.directory, "stop")
    control.asked()
    assert control.ending() is not None


# Options that change


def test_a_key_file_that_cannot_be_read_again_leaves_the_options_as_they_were(alive: Life) -> None:
    before = alive.flusher.config
    alive.refusal = ConfigurationError("gone")
    assert alive.flusher._current_configuration() == before
    assert not alive.flusher._has_new_key()
    alive.refusal = None
    for key, expected in (("key", False), (None, False), ("other", True)):
        alive.config = before._replace(api_key=key)
        assert alive.flusher._has_new_key() is expected
        assert alive.flusher._current_configuration() == alive.config


# What it notes of its start


def test_its_first_success_forgets_the_failures_and_later_ones_note_nothing(alive: Life) -> None:
    starting = Starting(alive.directory)
    lock = starting.begin()
    assert lock is not None
    starting.note(lock, 0)
    os.close(lock)
    start = starting.read().start
    assert start is not None

    def fail() -> None:
        with starting.changing() as notes:
            assert notes is not None
            notes.failed("words")

    fail()
    with starting.changing():  # somebody else is at the notes
        alive.flusher._succeeded()
    assert starting.read().failures == 1
    alive.flusher._succeeded()
    assert (starting.read().failures, starting.read().last_known) == (0, start.began_at)
    fail()
    alive.flusher._succeeded()
    assert starting.read().failures == 1, "once"


def test_it_makes_no_file_of_starts_where_there_is_none(alive: Life) -> None:
    """Its directory is being removed then."""
    alive.held()
    alive.flusher._succeeded()
    assert not os.path.exists(alive.directory.starting)


@pytest.mark.parametrize("nobody_since", [None, 8.0])
def test_trouble_that_was_told_before_it_began_is_told_by_it_when_it_is_over(
    alive: Life, nobody_since: float | None
) -> None:
    control = alive.held()
    told: list[str] = []
    control.report = lambda error: told.append(str(error))
    with Starting(alive.directory).changing() as notes:
        assert notes is not None
        notes.nobody_since, notes.reported_at = nobody_since, 10.0
    before = since_boot()
    alive.flusher._succeeded()
    assert Starting(alive.directory).read().nobody_since is None
    assert told == [], "it works, and has delivered nothing yet"
    for _ in range(2):
        control.caught_up(since_boot())
    [text] = told
    seconds = float(text.removeprefix("events are delivered again, after ").removesuffix(" s"))
    assert abs(seconds - (before - (nobody_since or 10.0))) < 30


def test_trouble_that_others_have_told_while_it_was_stopped_is_told_by_it_when_it_is_over(
    alive: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = alive.held()
    told: list[str] = []
    control.report = lambda error: told.append(str(error))
    alive.flusher._succeeded()
    with Starting(alive.directory).changing() as notes:
        assert notes is not None
        notes.reported_at = 10.0
    for now in (1009.0, 1018.0):
        monkeypatch.setattr(life, "monotonic", lambda now=now: now)
        alive.flusher._succeeded()
        control.caught_up(since_boot())
    assert told == [], "it was at work all the time"
    monkeypatch.setattr(life, "monotonic", lambda: 1028.5)
    alive.flusher._succeeded()
    control.caught_up(since_boot())
    assert len(told) == 1
