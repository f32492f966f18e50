"""Metrics of a queue: what they say is what the queue counts, whoever is asked, and a scrape fails for nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args  # noqa: F401  # Literal is in what is evaluated below

import pytest
from prometheus_client import CollectorRegistry

import lotus_durable as lotus
from lotus_durable.contrib.prometheus import QueueCollector
from lotus_durable.flusher import locks
from lotus_durable.operate.metrics import STATES
from lotus_durable.queue.heartbeat import HeartbeatFile, read_beat
from lotus_durable.queue.stats import FlusherState
from tests.rig import Rig, rig, rigs, track  # noqa: F401  # fixtures

from .conftest import Scene

Value = Callable[..., float | None]


@pytest.fixture
def value(rig: Rig) -> Value:  # noqa: F811
    """Return what a scrape says of the queue."""
    registry = CollectorRegistry()
    registry.register(QueueCollector(rig.client()))

    def asked(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"lotus_durable_{name}", {"queue_dir": str(rig.queue_dir), **labels})

    return asked


def test_the_equation_can_be_read_off_the_metrics(scene: Scene) -> None:
    registry = CollectorRegistry()
    registry.register(QueueCollector(scene.rig.client()))
    track(scene.rig.client(), 2)
    scene.make_dead(3)
    scene.refused().page(0, 1)
    track(scene.rig.client(), 1, time_created=datetime.now(UTC) + timedelta(days=2))
    scene.rig.client().drain()
    track(scene.rig.client(), 4)
    labels = {"queue_dir": str(scene.rig.queue_dir)}
    names = (
        "accepted_total",
        "delivered_total",
        "handed_over_total",
        "pending",
        "parked",
        "dead_lettered",
        "discarded_total",
    )
    found = [registry.get_sample_value(f"lotus_durable_events_{name}", labels) for name in names]
    assert found == [10, 2, 0, 4, 1, 3, 0]
    assert registry.get_sample_value("lotus_durable_events_parked_for_future", labels) == 1
    scene.refused().purge()
    assert registry.get_sample_value("lotus_durable_events_discarded_total", labels) == 3


def test_the_age_of_the_oldest_event_and_the_room_are_shown(rig: Rig, value: Value) -> None:  # noqa: F811
    rig.client().track_event(customer_id="c1", event_name="call")
    age = value("oldest_pending_age_seconds")
    assert age is not None
    assert 0 < age < 600
    for name in ("pending_bytes", "queue_used_bytes", "disk_left_bytes"):
        assert value(name), name
    assert value("queue_limit_bytes") == rig.config().max_queue_bytes
    rig.client().drain()
    assert value("oldest_pending_age_seconds") == 0


def test_the_states_are_those_of_a_flusher_that_there_is_none_and_that_it_hangs() -> None:
    assert set(STATES) == {"absent", "hung", *get_args(eval(str(FlusherState)))}


@pytest.mark.parametrize(("ago", "state"), [(0.0, "blocked"), (60.0, "hung")])
def test_exactly_one_state_is_shown_and_a_flusher_without_a_sign_of_life_hangs(
    rig: Rig,  # noqa: F811
    value: Value,
    ago: float,
    state: str,
) -> None:
    rig.client().track_event(customer_id="c1", event_name="call")
    assert value("flusher_state", state="absent") == 1
    rig.client().drain()
    beat = read_beat(rig.directory)
    assert beat is not None
    lock = os.open(rig.directory.flusher_lock, os.O_RDWR)
    try:
        assert locks.try_hold(lock)
        HeartbeatFile(rig.directory).write(beat._replace(state="blocked", at=beat.at - ago), None)
        assert {each: value("flusher_state", state=each) for each in STATES} == {
            each: float(each == state) for each in STATES
        }
        assert value("flusher_info", hostname=beat.hostname, kind="caller", version=lotus.__version__) == 1
    finally:
        os.close(lock)


def test_a_queue_that_is_not_there_fails_no_scrape_and_is_not_made(rig: Rig, value: Value) -> None:  # noqa: F811
    shutil.rmtree(rig.queue_dir, ignore_errors=True)
    assert value("queue_readable") == 0
    assert value("events_pending") is None
    assert not Path(rig.queue_dir).exists()


def test_without_clients_it_is_the_modules_queue_and_no_client_is_made_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOTUS_QUEUE_DIR", str(tmp_path / "queue"))
    monkeypatch.setattr(lotus.settings, "_client", None)
    registry = CollectorRegistry()
    registry.register(QueueCollector())
    labels = {"queue_dir": str(tmp_path / "queue")}
    assert registry.get_sample_value("lotus_durable_queue_readable", labels) == 0
    assert lotus.settings._client is None
    monkeypatch.setenv("LOTUS_TIMEOUT", "soon")
    assert registry.get_sample_value("lotus_durable_queue_readable", {"queue_dir": ""}) == 0


def test_a_collector_of_two_queues_shows_both_and_a_second_collector_is_refused(
    rig: Rig,  # noqa: F811
    tmp_path: Path,
) -> None:
    first, second = rig.client(), rig.client(queue_dir=tmp_path / "other")
    registry = CollectorRegistry()
    registry.register(QueueCollector(first, second))
    track(first, 1)
    track(second, 2)
    pending = [
        registry.get_sample_value("lotus_durable_events_pending", {"queue_dir": str(each.config.queue_dir)})
        for each in (first, second)
    ]
    assert pending == [1, 2]
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(QueueCollector(first))
