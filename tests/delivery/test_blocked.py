"""Blocked: a wrong key, a wrong URL, a proxy in between. Everything is kept, and everybody is told why."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from lotus_durable.errors import DeliveryBlocked
from lotus_durable.testing import Faults, Redirect, Status
from tests.rig import Rig, track, wait_until

SECRET = "prefix.a-key-that-nobody-must-see"

KEYS = pytest.mark.parametrize(
    ("generation", "options"),
    [("L22", {}), ("L24", {}), ("L24", {"text_key_errors": True})],
    ids=["L22", "L24", "between"],
)


@KEYS
def test_a_bad_key_keeps_everything_and_says_so_and_the_right_one_goes_on(
    rigs: Callable[..., Rig],
    caplog: pytest.LogCaptureFixture,
    generation: str,
    options: dict[str, bool],
) -> None:
    rig = rigs(generation, api_key="other", **options)
    client = rig.client(api_key=SECRET)
    ids = track(client, 20)
    report = client.drain()

    assert not report.complete
    assert report.reason is not None
    assert "the server refuses the API key" in report.reason
    assert (report.delivered, report.remaining) == (0, 20)
    stats = client.stats()
    assert stats.pending == 20
    wait_until(lambda: (flusher := client.stats().flusher) and flusher.state == "blocked", "a heartbeat that says so")
    flusher = client.stats().flusher
    assert flusher is not None
    assert flusher.reason == report.reason
    [(error, events)] = rig.errors
    assert isinstance(error, DeliveryBlocked)
    assert (report.reason in str(error), events) == (True, [])
    assert [r for r in caplog.records if r.levelno >= logging.WARNING and report.reason in r.getMessage()]
    assert SECRET not in caplog.text + repr(rig.errors) + repr(report) + repr(client) + repr(stats)
    assert rig.server.event_count == 0

    rig.server.rotate_key(SECRET)
    rig.server.wait_for(20)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 20


def test_an_expired_key_keeps_everything(rig: Rig) -> None:
    rig.server.expire_key()
    client = rig.client()
    ids = track(client, 3)
    assert "API key" in (client.drain().reason or "")
    assert rig.check(ids).pending == 3


def test_probes_are_of_the_empty_batch_and_slow(rig: Rig) -> None:
    rig.server.rotate_key("other")
    client = rig.client(probe_interval=0.05)
    track(client, 5)
    rig.server.wait_until(lambda: rig.server.request_count >= 6)
    first, *probes = rig.server.requests
    assert len(first.json()["batch"]) == 5
    assert all(probe.json() == {"batch": []} for probe in probes)
    rig.stop()

    patient = rig.client(probe_interval=3600.0)
    before = rig.server.request_count
    assert not patient.drain().complete
    assert rig.server.request_count == before + 1, "no probe before an hour is over"


def test_each_drain_while_blocked_probes_once_and_returns_at_once(rig: Rig) -> None:
    rig.server.rotate_key("other")
    client = rig.client(probe_interval=3600.0)
    ids = track(client, 1)
    for _ in range(3):
        assert "API key" in (client.drain().reason or "")
    assert rig.server.request_count == 3
    rig.server.rotate_key("test-key")
    assert client.drain().complete
    assert rig.check(ids).delivered == 1


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
    rig.server.wait_for(10)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 10
    assert all(request.method == "POST" for request in rig.server.requests), "a redirect was followed"


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
    assert len(rig.errors) == 1
    rig.server.rotate_key("test-key")
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 50
