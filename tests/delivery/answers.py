"""Answers as the servers give them, and what becomes of a batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lotus_durable.delivery import wire
from lotus_durable.delivery.outcome import Outcome, Settled, Verdict
from lotus_durable.delivery.verdict import outcome_of
from lotus_durable.http.answer import Answer, NoAnswer

NOW = datetime(2024, 2, 19, 12, tzinfo=UTC)
IDS = ("a", "b", "c")
DUPLICATE = "Event idempotency already exists"
DUPLICATE_IN_REQUEST = "Duplicate event idempotency in request"
KAFKA = "Failed to produce event to kafka: LEADER_NOT_AVAILABLE"
TOO_FAR = "Time created too far in the past or future. Events should be at most 30 days old or 1 day ahead"
REQUEST_TOO_LARGE = "<html>\n<head><title>413 Request Entity Too Large</title></head>\n<body></body>\n</html>"
BAD_REQUEST = "\n<!doctype html>\n<html><head><title>Bad Request (400)</title></head><body><h1>Bad Request (400)</h1>"
INVALID_JSON = {"success": "none", "failed_events": {"no_idempotency_id": "Invalid JSON"}}


def answer(status: int, value: object, content_type: str = "application/json", **more: Any) -> Answer:
    return Answer(status, content_type, json.dumps(value).encode(), **more)


def html(status: int, text: str, content_type: str = "text/html; charset=utf-8") -> Answer:
    return Answer(status, content_type, text.encode())


def raw(status: int, body: bytes) -> Answer:
    return Answer(status, "application/json", body)


def refusal(status: int, success: str, **failed: str) -> Answer:
    return answer(status, {"success": success, "failed_events": failed})


def outcome(came_back: Answer | NoAnswer, ids: Sequence[str] = IDS, *, age: timedelta = timedelta(0)) -> Outcome:
    times = [(NOW - age).isoformat()] * len(ids)
    return outcome_of(came_back, ids, times, now=NOW.timestamp())


def verdicts(came_back: Answer | NoAnswer, ids: Sequence[str] = IDS, *, age: timedelta = timedelta(0)) -> list[Verdict]:
    settled = outcome(came_back, ids, age=age)
    assert isinstance(settled, Settled)
    assert len(settled.verdicts) == len(ids)
    return list(settled.verdicts)


def encode_event(packed: bytes) -> tuple[str, str, bytes]:
    """Return of one record its id, its time, and what is sent of it."""
    [idempotency_id], [time_created], [event] = wire.encode_events((packed,))
    return idempotency_id, time_created, event


def encoded_without_orjson(packed: bytes) -> tuple[str, str, bytes]:
    """Return the same where orjson is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "orjson_dumps", lambda: None)
        return encode_event(packed)
