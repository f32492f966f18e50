"""The same trouble is logged once, and then once a minute with its count."""

from __future__ import annotations

import errno
import logging

import pytest

from lotus_durable.flusher import repeated
from lotus_durable.flusher.repeated import OnceAMinute
from tests.queue.faults import refusing
from tests.rig import Rig, track


def line(text: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("lotus_durable", level, __file__, 1, text, (), None)


def test_a_line_is_logged_once_and_a_minute_later_with_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(repeated, "monotonic", lambda: now)
    once = OnceAMinute()
    assert once.filter(line("segment 17 is broken"))
    assert not any(once.filter(line(f"segment {number} is broken")) for number in range(30))
    assert once.filter(line("something else"))
    assert once.filter(line("segment 17 is broken", logging.INFO))
    now += 60.0
    again = line("segment 5 is broken")
    assert once.filter(again)
    assert again.getMessage() == "segment 5 is broken (30 more like it since)"
    now += 60.0
    last = line("segment 5 is broken")
    assert once.filter(last)
    assert last.getMessage() == "segment 5 is broken"


def test_few_different_lines_are_remembered() -> None:
    once = OnceAMinute()
    for number in range(5_000):
        assert once.filter(line(f"line {chr(65 + number % 26)}{chr(65 + number // 26 % 26)}{chr(65 + number // 676)}"))
    assert len(once._seen) <= 200


def test_trouble_of_each_pass_makes_one_line(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    client = rig.client()
    ids = track(client, 1)
    client.release()
    passes = 0

    def is_over() -> bool:
        nonlocal passes
        passes += 1
        return passes > 200

    with refusing("unlink", errno.EIO, where=".seg"):
        rig.flush_until(is_over, flush_interval=0.01)
    assert sum("cannot delete what is settled" in each.getMessage() for each in caplog.records) == 1
    assert rig.check(ids).delivered == 1
