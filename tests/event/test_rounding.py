"""Integers beyond 2**53, which the server of 2024 stores as the nearest float: taken, and said once."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from lotus_durable.errors import InvalidEvent
from lotus_durable.event import encoder
from lotus_durable.event import properties as properties_module
from lotus_durable.event.encoder import EventEncoder
from lotus_durable.event.properties import INT_MAX, INT_MIN, clean_properties
from lotus_durable.event.record import decode_record

BEYOND = 2**53 + 1


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties_module, "_said", {})


def encoded(properties: dict[str, Any]) -> dict[str, Any]:
    return decode_record(EventEncoder(32_768).encode("customer", "name", properties, None, None)[1]).properties


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({"a": BEYOND}, "properties.a"),
        ({"a": -BEYOND}, "properties.a"),
        ({"a": INT_MAX}, "properties.a"),
        ({"a": INT_MIN}, "properties.a"),
        ({"b": 1, "a": [0, "x", True, {"two words": BEYOND}]}, "properties.a[3]['two words']"),
    ],
)
def test_an_integer_beyond_two_to_the_53_is_taken_and_told_with_its_path(
    properties: dict[str, Any], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert encoded(properties) == properties
    [line] = caplog.messages
    assert line.startswith(f"{path}: an integer beyond 2**53 is stored rounded")
    assert str(BEYOND) not in line


def test_it_is_told_once_in_a_process_and_every_such_integer_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    for number in (BEYOND, BEYOND + 1, INT_MIN, INT_MAX):
        assert encoded({"a": number}) == {"a": number}
        assert encoded({"a": [number]}) == {"a": [number]}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("properties", [{"a": 2**53}, {"a": [-(2**53), True, 1e300, "x"]}])
def test_what_is_kept_exactly_is_not_told_about(properties: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert encoded(properties) == properties
    assert caplog.messages == []


def test_an_event_that_is_refused_is_not_told_about(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"^properties\.b"):
        encoded({"a": BEYOND, "b": object()})
    assert caplog.messages == []


def test_the_calls_that_answer_do_not_tell(caplog: pytest.LogCaptureFixture) -> None:
    assert clean_properties({"a": BEYOND}, 100) == {"a": BEYOND}
    assert caplog.messages == []


def test_once_told_large_integers_are_taken_as_they_are_like_any(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded({"a": BEYOND})
    monkeypatch.setattr(encoder, "clean_properties", lambda *_, **__: pytest.fail("looked at once more"))
    large = {"a": BEYOND, "b": INT_MIN, "c": INT_MAX}
    assert encoded(large) == large


@pytest.mark.parametrize("number", [INT_MAX + 1, INT_MIN - 1])
def test_what_is_no_integer_of_64_bits_is_refused_also_once_told(number: int) -> None:
    encoded({"a": BEYOND})
    with pytest.raises(InvalidEvent, match=r"^properties\.a"):
        encoded({"a": number})


def test_a_log_handler_that_tracks_such_an_event_itself_does_not_go_round_in_circles() -> None:
    lines = []

    class Tracking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            encoded({"from the log": BEYOND})

    handler = Tracking()
    logger = logging.getLogger("lotus_durable")
    logger.addHandler(handler)
    try:
        encoded({"a": BEYOND})
    finally:
        logger.removeHandler(handler)
    assert len(lines) == 1
