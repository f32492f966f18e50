"""Blocked: a wrong key, a wrong URL, a proxy in between. Everything is kept, and everybody is told why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.errors import DeliveryBlocked
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.requests import ask
from lotus_durable.testing import Fault, Faults, Redirect, Status
from lotus_durable.testing.exchange import ReceivedRequest
from tests.rig import TRACK, Rig, track, wait_until

SECRET = "prefix.a-key-that-nobody-must-see"

KEYS = pytest.mark.parametrize(
    ("generation", "said"),
    [("L22", {}), ("L24", {}), ("L24", {Status(400, "Invalid API key", "text/html; charset=utf-8"): 1.0})],
    ids=["L22", "L24", "between"],
)


@KEYS
def test_a_bad_key_keeps_everything_and_says_so_and_the_right_one_goes_on(
    rigs: Callable[..., Rig],
    caplog: pytest.LogCaptureFixture,
    generation: str,
    said: dict[Fault, float],
) -> None:
    rig = rigs(generation, api_key="other", faults=Faults(path=TRACK, rates=said))
    client = rig.client(api_key=SECRET, flusher="auto")
    ids = track(client, 20)
    report = client.drain()

    assert not report.complete
    assert report.reason is not None
    assert "the server refuses the API key" in report.reason
    assert (report.delivered, report.remaining) == (0, 20)
    stats = client.stats()
    assert stats.pending == 20
    assert stats.flusher is not None
    assert (stats.flusher.state, stats.flusher.reason) == ("blocked", report.reason)
    [(error, events)] = rig.errors
    assert isinstance(error, DeliveryBlocked)
    assert (report.reason in str(error), events) == (True, [])
    assert [r for r in caplog.records if r.levelno >= logging.WARNING and report.reason in r.getMessage()]
    written = (
        caplog.text + repr(rig.errors) + repr(report) + repr(client) + repr(stats) + Path(rig.directory.log).read_text()
    )
    assert report.reason in Path(rig.directory.log).read_text()
    assert SECRET not in written
    assert rig.server.event_count == 0

    rig.server.faults = Faults()
    rig.server.rotate_key(SECRET)
    rig.server.wait_for(20)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 20


def test_that_delivery_is_blocked_is_told_once_however_many_look(rig: Rig) -> None:
    rig.server.rotate_key("other")
    clients = [rig.client(flusher="auto"), rig.client(api_key=None)]
    ids = track(clients[0], 1)
    wait_until(lambda: (beat := read_beat(rig.directory)) and beat.state == "blocked", "a heartbeat that says so")
    for client in clients * 3:
        assert "API key" in (client.drain(20).reason or "")
    assert [type(error) for error, _ in rig.errors] == [DeliveryBlocked]
    assert rig.check(ids).pending == 1


def test_an_expired_key_keeps_everything(rig: Rig) -> None:
    rig.server.expire_key()
    client = rig.client()
    ids = track(client, 3)
    assert "API key" in (client.drain().reason or "")
    assert rig.check(ids).pending == 3


def test_probes_are_of_the_empty_batch_and_slow(rig: Rig) -> None:
    rig.server.rotate_key("other")
    track(rig.client(), 5)
    rig.flush_until(lambda: len(rig.posts) >= 6, probe_interval=0.05)
    first, *probes = rig.posts
    assert len(first.json()["batch"]) == 5
    assert all(probe.json() == {"batch": []} for probe in probes)

    before = len(rig.posts)
    assert not rig.client(probe_interval=3600.0).drain().complete
    assert len(rig.posts) == before + 2, "no second probe before an hour is over"


def test_each_drain_while_blocked_probes_once_and_returns_at_once(rig: Rig) -> None:
    rig.server.rotate_key("other")
    client = rig.client(flusher="auto", probe_interval=3600.0)
    ids = track(client, 1)
    wait_until(lambda: (beat := read_beat(rig.directory)) and beat.state == "blocked", "a heartbeat that says so")
    for number in range(3):
        assert "API key" in (client.drain().reason or "")
        assert len(rig.posts) == number + 3
    rig.server.rotate_key("test-key")
    assert client.drain().complete
    assert rig.check(ids).delivered == 1


def test_a_drain_asked_for_while_the_refused_request_is_on_its_way_is_answered_without_the_slow_wait(
    rigs: Callable[..., Rig],
) -> None:
    asked: list[int] = []

    def ask_in_the_middle(request: ReceivedRequest) -> None:
        if request.path == TRACK and not asked:
            asked.append(ask(rig.directory, "drain"))

    rig = rigs(on_request=ask_in_the_middle)
    rig.server.rotate_key("other")
    track(rig.client(), 1)
    rig.flush_until(
        lambda: bool(asked) and (beat := read_beat(rig.directory)) is not None and beat.asked >= asked[0],
        probe_interval=3600.0,
    )
    assert len(rig.posts) == 2


@pytest.mark.parametrize(
    "fault", [Redirect(), Redirect(status=308), Status(200), Status(404), Status(405), Status(201)]
)
def test_whatever_answers_in_the_place_of_lotus_gets_nothing_counted(
    rigs: Callable[..., Rig], fault: Redirect | Status
) -> None:
    rig = rigs(faults=Faults(rates={fault: 1.0}))
    client = rig.client()
    ids = track(client, 10)
    assert "this is not an answer of Lotus" in (client.drain().reason or "")
    rig.server.faults = Faults()
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 10
    assert all(request.method == "POST" for request in rig.posts), "a redirect was followed"


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_a_wrong_url_keeps_everything(rigs: Callable[..., Rig], generation: str) -> None:
    rig = rigs(generation)
    client = rig.client(host=f"{rig.server.host}/wrong/place")
    ids = track(client, 3)
    assert "check the host" in (client.drain().reason or "")
    assert rig.check(ids).pending == 3


def test_what_is_tracked_while_blocked_is_kept_too_and_goes_in_order(rig: Rig) -> None:
    rig.server.rotate_key("other")
    client = rig.client()
    ids = track(client, 3)
    assert not client.drain().complete
    ids += track(client, 3)
    rig.server.rotate_key("test-key")
    assert client.drain(20).complete
    assert list(rig.server.times_received) == ids
    rig.check(ids)


def test_with_several_connections_a_bad_key_keeps_everything_too(rig: Rig) -> None:
    rig.server.rotate_key("other")
    client = rig.client(upload_concurrency=4, max_batch_events=5)
    ids = track(client, 50)
    assert not client.drain().complete
    rig.server.rotate_key("test-key")
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 50
