"""Parked events and dead letters: looked at, put back, purged; each event is somewhere, once, whatever is killed."""

from __future__ import annotations

import itertools
import subprocess
from typing import Any, Literal

import pytest

from lotus_durable.errors import QueueInUse
from lotus_durable.operate import Waiting
from lotus_durable.operate.holding import held
from lotus_durable.operate.refused import Changed
from lotus_durable.queue.requests import ask
from tests.rig import Rig, conserved, track, wait_until

from .conftest import LONG_AGO, Scene
from .killing import killed


@pytest.mark.parametrize("where", [{"customer_id": ""}, {"event_name": ""}, {"reason": ""}, {"ids": []}])
def test_a_filter_that_is_given_and_empty_takes_none(scene: Scene, where: dict[str, Any]) -> None:
    scene.make_dead(2)
    assert scene.refused(**where).purge() == Changed(0)
    assert scene.rig.stats().dead_lettered == 2


def test_a_dead_letter_that_is_put_back_is_delivered_with_its_id_and_time(scene: Scene) -> None:
    ids = scene.make_dead(3)
    scene.let_the_server_take_them()
    assert scene.refused().retry() == Changed(3)
    stats = scene.rig.stats()
    assert (stats.dead_lettered, stats.parked) == (0, 3)
    assert conserved(stats)
    assert scene.rig.client().drain().complete
    assert dict(scene.rig.server.times_received) == dict.fromkeys(ids, 1)
    [sent] = {each["time_created"] for each in scene.rig.posts[-1].json()["batch"]}
    assert sent.startswith(LONG_AGO.strftime("%Y-%m-%d"))
    stats = scene.rig.stats()
    assert (stats.delivered, stats.parked, stats.dead_lettered) == (3, 0, 0)


def test_what_is_refused_again_is_a_dead_letter_again(scene: Scene) -> None:
    ids = scene.make_dead(2)
    scene.refused().retry()
    scene.rig.client().drain()
    assert scene.rig.ids("dead") == set(ids)
    scene.rig.check(ids, claimed=())


def test_what_cannot_be_read_stays_where_it_is(scene: Scene) -> None:
    scene.rig.write(b"\xc1 no record")
    scene.rig.client().drain()
    assert scene.refused().retry() == Changed(1)  # its bytes are there
    scene.rig.client().drain()
    assert scene.rig.stats().dead_lettered == 1


def test_parked_events_are_put_back_as_if_for_the_first_time(parking: Rig, scene: Scene) -> None:
    client = parking.client()
    ids = track(client, 3, customer_id="nobody")
    client.drain()
    assert parking.ids("parked") == set(ids)
    scene = Scene(parking, scene.clock)
    assert scene.refused("parked").retry() == Changed(3)
    assert [(event.attempts, event.tried) for event in parking.stored("parked")] == [(0, 0.0)] * 3
    assert parking.ids("parked") == set(ids)
    assert scene.refused("parked").purge() == Changed(3)
    assert parking.stats().discarded == 3
    assert conserved(parking.stats())


def test_a_flusher_that_runs_pauses_and_goes_on(scene: Scene) -> None:
    ids = scene.make_dead(2)
    scene.let_the_server_take_them()
    client = scene.rig.client(flusher="auto")
    first = client.track_event(customer_id="c1", event_name="call", time_created=LONG_AGO)
    scene.rig.server.wait_for(1)
    wait_until(lambda: scene.rig.stats().delivered == 1, "the first to be settled")
    flusher = scene.rig.stats().flusher
    assert flusher is not None
    assert scene.refused().retry() == Changed(2)
    wait_until(lambda: scene.rig.stats().delivered == 3, "what was put back to be delivered")
    assert set(scene.rig.server.times_received) == {first, *ids}
    again = scene.rig.stats().flusher
    assert again is not None
    assert again.pid == flusher.pid


def test_a_flusher_goes_on_where_nobody_takes_the_lock_after_asking(scene: Scene) -> None:
    client = scene.rig.client(flusher="auto")
    track(client, 1)
    scene.rig.server.wait_for(1)
    ask(scene.rig.directory, "pause")
    wait_until(lambda: not scene.rig.is_flushed(), "it to pause")
    wait_until(scene.rig.is_flushed, "it to go on")


def test_a_flusher_that_does_not_let_go_is_named(scene: Scene) -> None:
    ids = scene.make_dead(1)
    client = scene.rig.client(flusher="auto")
    track(client, 1)
    scene.rig.server.wait_for(1)
    wait_until(scene.rig.is_flushed, "a flusher")
    flusher = scene.rig.stats().flusher
    assert flusher is not None
    subprocess.run(["kill", "-STOP", str(flusher.pid)], check=True)
    try:
        with pytest.raises(QueueInUse, match=f"process {flusher.pid} on .* does not let go of the queue within 0.3 s"):
            scene.refused().purge(waiting=Waiting(0.3))
    finally:
        subprocess.run(["kill", "-CONT", str(flusher.pid)], check=True)
    assert scene.rig.ids("dead") == set(ids)


STEPS = ["before it is settled", "within the transaction", "after it is settled"]


@pytest.mark.parametrize("what", ["retry", "purge"])
@pytest.mark.parametrize(("step", "number"), list(itertools.product(STEPS, [1, 2, 3])))
def test_a_kill_at_any_step_loses_and_doubles_nothing(
    scene: Scene, what: Literal["retry", "purge"], step: str, number: int
) -> None:
    ids = scene.make_dead(30)
    code = "from lotus_durable.operate import refused\nrefused.PAGE = 10\n"
    killed(scene.rig, f"{code}refused.RefusedEvents(config, 'dead_letter').{what}()", step, number)
    with held(scene.rig.config()):
        pass  # whoever has the books next says what is in them
    done = 10 * (number - (step != "after it is settled"))
    stats = scene.rig.stats()
    assert conserved(stats)
    assert (stats.accepted, stats.discarded) == (30, done if what == "purge" else 0)
    assert len(scene.rig.stored("dead")) == stats.dead_lettered == 30 - done
    assert len(scene.rig.stored("parked")) == stats.parked == (done if what == "retry" else 0)
    getattr(scene.refused(), what)()
    scene.rig.client().drain()
    stats = scene.rig.stats()
    assert conserved(stats)
    assert (stats.accepted, stats.dead_lettered, stats.discarded) == ((30, 30, 0) if what == "retry" else (30, 0, 30))
    assert scene.rig.ids("dead") == (set(ids) if what == "retry" else set())


def test_a_client_has_the_same_as_calls(scene: Scene) -> None:
    ids = scene.make_dead(3)
    client = scene.rig.client()
    assert client.dead_letters(ids=ids[:2]).count() == 2
    assert client.dead_letters(ids=ids[:1]).purge() == Changed(1)
    assert client.dead_letters(customer_id="c1").retry() == Changed(2)
    assert client.parked_events().count() == 2
    with pytest.raises(TypeError):
        client.dead_letters(customer="c1")  # type: ignore[call-arg]
