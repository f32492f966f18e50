"""A client's life in one process: started, shut down, used again, by threads, by signals."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lotus_durable.clock import boot_id, since_boot
from lotus_durable.delivery.control import Control
from lotus_durable.descriptors import open_numbers
from lotus_durable.errors import ConfigurationError
from lotus_durable.flusher.destination import AsConfigured
from lotus_durable.flusher.life import Flusher
from lotus_durable.flusher.lock import FlusherLock
from lotus_durable.queue.heartbeat import HeartbeatFile, read_beat
from lotus_durable.testing import Delay
from lotus_durable.tracker import open_trackers
from tests.flusher.test_decisions import beat
from tests.rig import Rig, conserved, track
from tests.scripts import lines


def test_shutting_down_sends_what_is_pending(rig: Rig) -> None:
    client = rig.client(flusher="auto", flush_interval=3600.0)
    ids = track(client, 1)
    rig.server.wait_for(1)
    ids += track(client, 10)
    client.shutdown(20)
    assert rig.server.event_count == 11
    client.shutdown(20)
    assert rig.check(ids).delivered == 11


@pytest.mark.parametrize("call", ["shutdown", "join", "drain", "flush"])
def test_an_infinite_timeout_is_as_long_as_it_takes(rig: Rig, call: str) -> None:
    client = rig.client(flusher="auto")
    ids = track(client, 3)
    getattr(client, call)(float("inf"))
    assert rig.server.event_count == 3
    assert rig.check(ids).delivered == 3


@pytest.mark.parametrize("timeout", [float("nan"), "soon", [1]])
@pytest.mark.parametrize("call", ["shutdown", "join", "drain", "flush"])
def test_a_timeout_that_is_no_number_is_refused_and_nothing_hangs(rig: Rig, call: str, timeout: object) -> None:
    client = rig.client()
    ids = track(client, 1)
    with pytest.raises(ConfigurationError, match="timeout: a number of seconds is needed"):
        getattr(client, call)(timeout)
    assert rig.check(ids).pending == 1


@pytest.mark.parametrize("call", ["shutdown", "join", "drain", "flush"])
def test_a_timeout_below_zero_counts_as_zero(rig: Rig, call: str) -> None:
    rig.server.pause()
    client = rig.client(flusher="external")
    ids = track(client, 1)
    getattr(client, call)(float("-inf"))
    assert rig.check(ids).pending == 1


@pytest.mark.parametrize("call", ["shutdown", "join"])
def test_ending_waits_for_what_was_tracked_and_the_client_can_be_used_again(rig: Rig, call: str) -> None:
    client = rig.client(flusher="auto")
    ids = []
    for _ in range(3):
        ids += track(client, 2)
        getattr(client, call)(20)
        assert rig.server.event_count == len(ids)
    assert rig.check(ids).delivered == 6


def test_a_client_that_is_used_again_after_a_shutdown_is_waited_for_at_exit(rig: Rig) -> None:
    make = 'client = make(flusher="auto", flush_interval=3600, exit_timeout=20); '
    lines(f"{make} track(client, 1); client.shutdown(20); track(client, 1)", rig.queue_dir, rig.server.host)
    assert rig.server.event_count == 2


def test_shutting_down_in_an_outage_leaves_one_line_and_the_events(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.server.pause()
    client = rig.client(flusher="auto")
    ids = track(client, 7)
    client.shutdown(20)
    lines = [each.getMessage() for each in caplog.records if "left on disk" in each.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith(f"7 events left on disk in {rig.queue_dir} (connection refused")
    assert rig.check(ids).pending == 7


def test_the_trouble_of_a_flusher_that_was_killed_ends_no_wait_for_the_one_after_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = rig.client()
    ids = track(client, 1)
    lock = FlusherLock(rig.directory)
    assert lock.acquire()
    trouble = beat(boot=boot_id(), at=since_boot(), state="retrying", reason="the killed one's")
    waits = 0
    with closing(HeartbeatFile(rig.directory)) as heartbeat:
        heartbeat.write(trouble, None)

        def sleep(_: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 5:
                heartbeat.write(trouble._replace(beats=2, at=since_boot()), None)

        monkeypatch.setattr("lotus_durable.waiting.time.sleep", sleep)
        client.join(3600)
    monkeypatch.undo()
    assert waits >= 5
    lock.release()
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1


def test_shutting_down_without_time_waits_for_nobody_and_says_what_is_left(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.server.fail_next(Delay(60.0))
    client = rig.client(flusher="auto", timeout=(5.0, 60.0))
    ids = track(client, 1)
    rig.wait_for_posts(1)
    client.shutdown(0)
    [line] = [each.getMessage() for each in caplog.records if "left on disk" in each.getMessage()]
    assert line.startswith("1 event left on disk")
    assert "not delivered yet" in line
    rig.server.stop()
    assert rig.check(ids).pending == 1


def test_shutting_down_waits_for_what_somebody_else_flushes(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    ids = track(rig.client(flusher="auto"), 1)
    rig.server.wait_for(1)
    other = rig.client()
    ids += track(other, 3)
    other.shutdown(20)
    assert rig.server.event_count == 4
    assert "left on disk" not in caplog.text
    assert rig.check(ids).delivered == 4


def test_a_client_that_is_given_other_options_does_what_they_say_also_after_it_has_tracked(rig: Rig) -> None:
    client = rig.client()
    ids = track(client, 1)
    before = client.config
    client.release()
    client.adopt(before._replace(send=False))
    track(client, 1)
    client.release()
    client.adopt(before)
    ids += track(client, 1)
    assert rig.check(ids).accepted == 2


def test_joining_or_releasing_what_never_began_is_nothing(rig: Rig) -> None:
    client = rig.client(flusher="auto")
    client.join()
    client.release()
    client.shutdown()
    assert rig.server.request_count == 0
    assert not rig.is_flushed()


def test_a_client_nobody_holds_any_more_still_sends(rig: Rig) -> None:
    track(rig.client(flusher="auto"), 1)
    rig._clients.clear()
    gc.collect()
    rig.server.wait_for(1)
    for tracker in open_trackers():
        tracker.close()


def test_clients_with_the_same_options_share_a_segment_however_many_are_made(rig: Rig) -> None:
    ids = [each for _ in range(50) for each in track(rig.client(), 1)]
    assert len(rig.directory.segments()) == 1
    assert rig.check(ids).pending == 50


def test_a_client_that_is_made_again_asks_nothing_about_the_queues_of_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    track(rig.client(), 1)
    track(rig.client(queue_dir=rig.queue_dir.with_name("other")), 1)
    asked: list[str] = []
    monkeypatch.setattr("lotus_durable.tracker.is_folder", asked.append)
    rig.client()
    assert asked == []


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize(("durability", "each"), [("process", 500), ("power", 50)])
def test_eight_threads_track_and_nothing_is_lost(rig: Rig, durability: str, each: int) -> None:
    client = rig.client(durability=durability)
    with ThreadPoolExecutor(8) as pool:
        ids = [id_ for part in pool.map(lambda _: track(client, each), range(8)) for id_ in part]
    assert len(set(ids)) == 8 * each
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 8 * each, "or there would be gaps between their numbers"
    assert rig.server.duplicates == 0


def test_threads_that_begin_at_once_start_one_flusher(rig: Rig) -> None:
    ids: list[str] = []
    for number in range(3):
        client = rig.client(flusher="auto")
        together = threading.Barrier(8)

        def begin(together: threading.Barrier = together) -> list[str]:
            together.wait()
            return track(client, 1)  # noqa: B023  # called before the next round

        with ThreadPoolExecutor(8) as pool:
            ids += [each for future in [pool.submit(begin) for _ in range(8)] for each in future.result()]
        rig.server.wait_for(len(ids))
        rig.stop()
        assert Path(rig.directory.log).read_text().count(" begins") == number + 1
    assert rig.check(ids).delivered == 24


def test_threads_that_shut_down_and_track_at_once_lose_nothing(rig: Rig) -> None:
    client = rig.client()
    ended = threading.Event()

    def shut_down() -> None:
        while not ended.is_set():
            client.shutdown(1.0)

    with ThreadPoolExecutor(4) as pool:
        closing = pool.submit(shut_down)
        ids = [each for part in pool.map(lambda _: track(client, 100), range(6)) for each in part]
        ended.set()
        closing.result()
    rig.stop()
    assert rig.client().drain(20).complete
    assert rig.check(ids).delivered == 600


class Interrupt(Exception):
    pass


@contextmanager
def on_signal(handle: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call ``handle`` for SIGALRM meanwhile."""
    before = signal.signal(signal.SIGALRM, handle)
    try:
        yield
    finally:
        strike_after(0)
        signal.signal(signal.SIGALRM, before)


def strike_after(seconds: float) -> None:
    """By the clock: the timers of processor time wait for the kernel's next tick, and 2,000 events come before that."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


without_pytest_s_alarm = pytest.mark.timeout(method="thread")


def interrupt(_: int, __: FrameType | None) -> None:
    raise Interrupt


@without_pytest_s_alarm
@pytest.mark.skipif("coverage" in sys.modules, reason="an exception in mid-measurement leaves coverage's lock held")
# An exception in the middle of open() leaves its file to the garbage collector, in the standard library too.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupted_anywhere_every_acknowledged_event_is_kept(rig: Rig) -> None:
    client = rig.client(segment_bytes=1 << 12)
    ids: list[str] = []
    interruptions = 0
    with on_signal(interrupt):
        for _ in range(40):
            try:
                strike_after(0.0007)
                # Bounded, for an exception that strikes in a destructor goes nowhere.
                for _ in range(5_000):
                    ids.append(client.track_event(customer_id="c", event_name="x"))  # noqa: PERF401  # one by one
                strike_after(0)
            except Interrupt:
                interruptions += 1
    assert interruptions
    rig.stop()
    assert rig.client().drain(30).complete
    stats = rig.stats()
    assert conserved(stats)
    assert set(ids) <= set(rig.server.times_received)
    # One event for each interruption may have been written without anybody being told.
    assert len(ids) <= stats.accepted <= len(ids) + interruptions
    assert stats.delivered == stats.accepted


def open_heartbeats(rig: Rig) -> int:
    """Count the descriptors of this process that lead to its queue's."""
    links = []
    for number in open_numbers():
        with suppress(OSError):  # the folder that was listed
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return links.count(str(rig.directory.heartbeat))


@without_pytest_s_alarm
@pytest.mark.parametrize("flusher", ["auto", "external"])
def test_an_interrupted_drain_leaves_nothing_behind(rig: Rig, flusher: str) -> None:
    rig.server.pause()
    client = rig.client(flusher=flusher)
    ids = track(client, 3)

    def interrupt_in_the_middle() -> None:
        beat = read_beat(rig.directory)
        if beat is not None and beat.state == "retrying":
            os.kill(os.getpid(), signal.SIGALRM)

    with on_signal(interrupt), pytest.raises(Interrupt):
        client.watched_drain(None, interrupt_in_the_middle)
    assert rig.is_flushed() is (flusher == "auto")
    assert open_heartbeats(rig) == 0
    rig.server.resume()
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 3


def test_a_flusher_that_begins_anew_opens_its_heartbeat_no_second_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so at each reload, and each second while its disk refuses."""
    begun = most = 0
    begin_anew = Control.begin_anew

    def counted(control: Control, *arguments: Any) -> None:
        nonlocal begun
        begun += 1
        begin_anew(control, *arguments)

    def ending() -> str | None:
        nonlocal most
        if flusher.control is not None:
            flusher.control.renew("once more")
        most = max(most, open_heartbeats(rig))
        return "that is enough" if begun > 5 else None

    monkeypatch.setattr(Control, "begin_anew", counted)
    config = rig.config(exit_timeout=0.0)
    flusher = Flusher(lambda: config, kind="caller", ending=ending, destination=AsConfigured())
    rig.directory.prepare()
    assert flusher.lock.acquire()
    flusher.run()
    assert most == 2, "the file that it writes, and the lock on it"
    assert open_heartbeats(rig) == 0


@without_pytest_s_alarm
def test_a_signal_handler_may_track_in_the_middle_of_a_call(rig: Rig) -> None:
    client = rig.client()
    by_handler: list[str] = []

    def handle(_: int, __: FrameType | None) -> None:
        by_handler.extend(track(client, 1))
        strike_after(0.0005)  # once each: it must not interrupt itself for ever

    ids: list[str] = []
    with on_signal(handle):
        strike_after(0.0005)
        while len(by_handler) < 30:
            ids.extend(track(client, 50))
    assert client.drain(30).complete
    everything = ids + by_handler
    assert len(set(everything)) == len(everything)
    assert rig.check(everything).delivered == len(everything)
