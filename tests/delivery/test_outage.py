"""Outages: the very same ids go again until the server has them, and it counts each once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.errors import DeliveryBlocked, DeliveryResumed
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.testing import Delay, Drip, Fault, RateLimited, Reset, Status, Truncate
from tests.delivery.scripted_server import ScriptedServer, says
from tests.rig import Rig, drained_until_told, faults, track, wait_until

STORED: list[Fault] = [
    Status(503, stored=True),
    Status(500, stored=True),
    Reset("after_storing"),
    Truncate(3),
    Delay(30.0),
]
NOT_STORED: list[Fault] = [Status(502), Status(503), Status(504), RateLimited(None), Reset("before_reading")]


@pytest.mark.parametrize("generation", ["L22", "L24"])
@pytest.mark.parametrize("fault", STORED + NOT_STORED, ids=str)
def test_an_outage_of_any_kind_loses_nothing(rigs: Callable[..., Rig], generation: str, fault: Fault) -> None:
    rig = rigs(generation, faults=faults(script=[fault]))
    client = rig.client(timeout=0.3)
    ids = track(client, 50)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 50
    assert rig.server.event_count == 50
    assert all(batch == ids for batch in rig.batches()), "not the very same batch"
    assert rig.server.duplicates == (50 if fault in STORED else 0)


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_a_bad_day_of_all_of_them_loses_nothing(rigs: Callable[..., Rig], generation: str) -> None:
    bad_day: list[Fault] = [*STORED[:-1], *NOT_STORED, Status(404), Status(200), Drip(0.001), Status(413)]
    rig = rigs(generation, faults=faults(rates=dict.fromkeys(bad_day, 0.05), seed=4))
    client = rig.client(timeout=0.4, max_batch_events=10)  # on L22 each failure is waited out for so long
    ids = track(client, 500)
    wait_until(lambda: client.drain(20).complete, "a drain", 60)
    stats = rig.check(ids)
    assert (stats.delivered, stats.dead_lettered) == (500, 0)


def test_an_outage_is_shown_by_the_heartbeat_but_is_no_error(rig: Rig) -> None:
    rig.server.pause()
    client = rig.client(flusher="auto")
    track(client, 1)
    wait_until(lambda: (flusher := client.stats().flusher) and flusher.state == "retrying", "a heartbeat that says so")
    track(client, 1)
    assert rig.errors == []


def test_an_outage_that_lasts_is_told_and_when_it_is_over(rig: Rig) -> None:
    rig.server.pause()
    client = rig.client(flusher="auto", report_after=0.2, report_interval=0.5)
    ids: list[str] = []

    def is_told(kind: type) -> bool:
        ids.extend(track(client, 1))
        return any(isinstance(error, kind) for error, _ in rig.errors)

    wait_until(lambda: is_told(DeliveryBlocked), "it to be told")
    told = str(rig.errors[0][0])
    assert re.match(r"nothing is delivered, \d+ events? (is|are) kept, the oldest for \d+ s: ", told)
    assert "connection refused" in told
    rig.server.resume()
    wait_until(lambda: is_told(DeliveryResumed), "its end to be told")
    assert client.drain(20).complete
    assert rig.check(ids).delivered == len(ids)


def test_a_name_that_does_not_resolve_is_an_outage(rig: Rig) -> None:
    client = rig.client(host="https://lotus.invalid")
    ids = track(client, 1)
    report = client.drain(0.3)
    assert not report.complete
    assert rig.check(ids).pending == 1


def test_a_drain_without_a_timeout_returns_with_what_only_a_person_can_mend(
    rig: Rig, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "")
    ids: list[str] = []
    with ScriptedServer(says(201), tls=certificate) as unknown:
        port = rig.server.host.rpartition(":")[2]
        for host, reason in (
            (unknown.host, "certificate of"),
            (f"https://127.0.0.1:{port}", "(http?)"),
            (f"http://{'x' * 70}.example", "no request can be made"),
        ):
            client = rig.client(host=host)
            ids += track(client, 1)
            report = client.drain()
            assert reason in (report.reason or "")
            assert report.remaining == len(ids)
    assert rig.client().drain(20).complete
    assert rig.check(ids).delivered == 3


def test_what_the_server_forgets_is_not_ours_to_know(rig: Rig) -> None:
    """The promise ends at the server's word; its ids let a reconciliation find what it lost."""
    client = rig.client()
    ids = track(client, 2)
    assert client.flush(20)
    rig.server.lose_events(ids[0])
    assert client.stats().delivered == 2


@pytest.mark.parametrize(("generation", "is_in_doubt"), [("L22", True), ("L24", False)])
def test_what_is_in_doubt_when_a_flusher_ends_is_waited_out_by_the_next_one(
    rigs: Callable[..., Rig], generation: str, is_in_doubt: bool
) -> None:
    rig = rigs(generation, faults=faults(script=[Status(503)]))
    client = rig.client()
    ids = track(client, 1)
    rig.flush_until(lambda: rig.posts, timeout=3600.0)
    beat = read_beat(rig.directory)
    assert beat is not None
    assert (beat.in_flight is not None) is is_in_doubt
    impatient = rig.client(timeout=3600.0)
    if is_in_doubt:
        drained_until_told(impatient, "may be at work on an earlier request")
    else:
        assert impatient.drain(20).complete
    assert rig.client(timeout=0.1).drain(20).complete
    assert rig.check(ids).delivered == 1
