"""What is told while everything still works: by the flusher, once a minute, in a process that tracks."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lotus_durable.errors import AttentionNeeded, LotusError
from lotus_durable.flusher import early_warning
from lotus_durable.flusher.early_warning import EarlyWarnings
from lotus_durable.queue.limit import Condition
from tests.rig import Rig, track, wait_until


class Told(list[str]):
    def __call__(self, error: LotusError) -> None:
        assert isinstance(error, AttentionNeeded)
        self.append(f"{error.about}: {error}")


def room(**known: int) -> Condition:
    usual = {"used_bytes": 0, "disk_left": 1 << 40, "files_left": 1 << 30, "quarantine_files": 0, "quarantine_bytes": 0}
    return Condition(**{**usual, **known})


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            {"used_bytes": 950_000_000},
            "limit: the queue is 88 % full (max_queue_bytes is 1073741824): events are refused",
        ),
        ({"disk_left": 3_000_000}, "disk: the disk is nearly full: 3 MB are left for events"),
        ({"files_left": 12}, "disk: the disk is nearly full: 12 files can be made on it"),
    ],
)
def test_a_limit_that_is_near_is_told_each_time(
    rigs: Callable[..., Rig],
    monkeypatch: pytest.MonkeyPatch,
    known: dict[str, int],
    said: str,
) -> None:
    rig = rigs()
    track(rig.client(), 1)
    told = Told()
    warnings = EarlyWarnings(rig.directory, rig.config(), told)
    warnings.look()
    assert told == []
    monkeypatch.setattr(early_warning, "condition", lambda _: room(**known))
    warnings.look()
    warnings.look()
    assert [each.startswith(said) for each in told] == [True, True]


def test_an_event_that_nears_the_30_days_is_told(rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rigs()
    now = time.time()
    monkeypatch.setattr("lotus_durable.event.encoder.time", lambda: now - 27 * 86_400.0)
    track(rig.client(), 3)
    told = Told()
    EarlyWarnings(rig.directory, rig.config(), told).look()
    assert told == ["age: the oldest of 3 events pending is 27 days old: the server takes none older than 30"]


def test_events_that_are_parked_are_told_when_they_become_more(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L22", customers=["c1"])
    track(rig.client(), 2, customer_id="nobody")
    rig.client().drain()
    told = Told()
    warnings = EarlyWarnings(rig.directory, rig.config(), told)
    warnings.look()
    assert told == []
    track(rig.client(), 3, customer_id="nobody")
    rig.client().drain()
    warnings.look()
    warnings.look()
    assert told == ["parked: 5 events parked, 3 of them since a minute ago"]


def test_events_that_are_parked_for_the_future_are_told(rigs: Callable[..., Rig]) -> None:
    rig = rigs()
    track(rig.client(), 2, time_created=datetime.now(UTC) + timedelta(days=3))
    rig.client().drain()
    assert "AttentionNeeded: 2 events parked for the future: is a clock, or a time zone, wrong?" in rig.messages()


def test_a_process_that_tracks_tells_what_its_flusher_has_seen(
    rigs: Callable[..., Rig],
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = rigs("L22", customers=["c1"])
    options: dict[str, Any] = {"flusher": "auto", "report_interval": 0.3, "idle_before_end": 20.0}
    client = rig.client(**options)
    track(client, 1)
    wait_until(rig.is_flushed, "a flusher")
    track(client, 3, customer_id="nobody")

    def is_told() -> bool:
        client._tracker.look_now()
        return any(message.startswith("AttentionNeeded: ") for message in rig.messages())

    wait_until(is_told, "the warning")
    assert any("events parked, " in record.message for record in caplog.records)
