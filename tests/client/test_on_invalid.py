"""``on_invalid="report"``: a billing bug is a dead letter and an ``on_error``, and not the request's error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

import lotus_durable as lotus
from lotus_durable.event.record import RecordError, decode_record, unpack_record
from tests.rig import Rig, track, wait_until

WRONG: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"properties": {"amount": float("nan"), "region": "US"}},
        "properties.amount: is not a finite number",
        {"properties": {"amount": "nan", "region": "US"}},
    ),
    (
        {"properties": {"lines": [{"price": Decimal("1E-400")}], "n": 1}},
        "properties.lines[0].price: is too close to zero",
        {"properties": {"lines": "[{'price': Decimal('1E-400')}]", "n": 1}},
    ),
    ({"properties": {1: "one", "two": 2}}, "properties: has a key of type int", {"properties": {"1": "one", "two": 2}}),
    ({"properties": 3}, "properties: must be a mapping", {"properties": {"properties": 3}}),
    ({"customer_id": None}, "customer_id: is required", {"customer_id": "None"}),
    ({"customer_id": "c" * 51}, "customer_id: has 51 characters", {"customer_id": "c" * 51}),
    ({"event_name": "a\0b"}, "event_name: contains a NUL", {"event_name": r"a\x00b"}),
    ({"event_name": "\ud800"}, "event_name: contains a lone surrogate", {"event_name": r"\ud800"}),
    ({"time_created": 12}, "time_created: must be a datetime", {"time_created": "12"}),
    ({"idempotency_id": 7}, "idempotency_id: must be a str", {"idempotency_id": "7"}),
    ({"properties": {"text": "x" * 40_000}}, "event: takes ", {"properties": {"text": "x" * 255}}),
]


@pytest.mark.parametrize(("fields", "reason", "kept"), WRONG, ids=[reason for _, reason, _ in WRONG])
def test_an_invalid_event_becomes_a_dead_letter_with_its_reason_and_the_others_are_delivered(
    rig: Rig, fields: dict[str, Any], reason: str, kept: dict[str, Any]
) -> None:
    client = rig.client(on_invalid="report")
    ids = [*track(client, 1), *track(client, 1, **fields), *track(client, 1)]
    assert client.drain(20).complete
    assert list(rig.server.times_received) == [ids[0], ids[2]]
    [dead] = rig.stored("dead")
    assert dead.reason.startswith(reason)
    event = decode_record(dead.record)
    assert event.idempotency_id == ids[1]
    for name, value in kept.items():
        found = getattr(event, name)
        if isinstance(value, dict):
            assert {key: _start(found[key], each) for key, each in value.items()} == value
        else:
            assert found == value
    stats = rig.check(ids)
    assert (stats.accepted, stats.delivered, stats.dead_lettered) == (3, 2, 1)


def _start(found: Any, expected: Any) -> Any:
    return found[: len(expected)] if isinstance(found, str) else found


def test_on_error_is_told_once_at_the_call_with_the_event_and_the_log_once_a_minute(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    client = rig.client(on_invalid="report", flusher="auto")
    ids = [client.track_event(customer_id="c1", event_name="x", properties={"a": object()}) for _ in range(3)]
    told = [(type(error), events[0]["idempotency_id"]) for error, events in rig.errors]
    assert told == [(lotus.InvalidEvent, event_id) for event_id in ids[:3]]
    assert str(rig.errors[0][0]).startswith("properties.a: is of type object")
    wait_until(lambda: client.stats().dead_lettered == 3, "the dead letters")
    ids += track(client, 1)
    client.drain(20)
    ids += track(client, 1)  # its look would tell what the flusher has to tell
    assert len(rig.errors) == 3
    assert [each.getMessage() for each in caplog.records if "on_invalid" in each.getMessage()] == [
        f"an event is refused, and track_event goes on (on_invalid): {rig.errors[0][0]}"
    ]
    rig.check(ids)


def test_check_event_raises_with_report_too(rig: Rig) -> None:
    client = rig.client(on_invalid="report")
    with pytest.raises(lotus.InvalidEvent):
        client.check_event(customer_id="", event_name="x")
    assert rig.errors == []


def test_in_sync_mode_the_request_goes_on_too(rig: Rig) -> None:
    client = rig.client(on_invalid="report", sync_mode=True, flusher="auto")
    ids = track(client, 1, properties={"a": object()})
    assert rig.check(ids).dead_lettered == 1


def test_with_send_false_it_is_told_and_nothing_is_written(rig: Rig) -> None:
    client = rig.client(on_invalid="report", send=False)
    track(client, 1, customer_id="")
    assert len(rig.errors) == 1
    assert not rig.queue_dir.exists()


def test_what_code_of_a_value_does_wrong_fails_nobody(rig: Rig) -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise KeyError("no")

    class Endless(dict[str, int]):
        def items(self) -> Iterator[tuple[str, int]]:  # type: ignore[override]
            number = 0
            while True:
                yield f"key {(number := number + 1)}", number

    client = rig.client(on_invalid="report")
    ids = track(client, 1, properties={"a": Hostile(), "b": 1})
    ids += track(client, 1, properties=Endless())
    ids += track(client, 1, customer_id=Hostile())
    client.drain(20)
    shown = {event.idempotency_id: event for event in (decode_record(each.record) for each in rig.stored("dead"))}
    assert shown[ids[0]].properties["b"] == 1
    assert "Hostile" in str(shown[ids[0]].properties["a"])
    assert len(shown[ids[1]].properties) == 1000
    assert "Hostile" in shown[ids[2]].customer_id
    assert rig.check(ids).dead_lettered == 3


def test_the_record_of_a_refused_event_is_never_taken_for_one_that_can_be_sent(rig: Rig) -> None:
    client = rig.client(on_invalid="report")
    track(client, 1, customer_id="")
    client.drain(20)
    [dead] = rig.stored("dead")
    with pytest.raises(RecordError, match="customer_id: must not be empty"):
        unpack_record(dead.record)
    assert decode_record(dead.record).event_name == "call"


def test_a_process_that_does_not_ask_for_it_does_not_import_what_it_takes() -> None:
    code = "import sys, lotus_durable; sys.exit('lotus_durable.event.refused' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
