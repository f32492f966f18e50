"""A child's reports: the uploading never waits for whoever should read them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from lotus_durable.flusher import outbox as outbox_module
from lotus_durable.flusher.messages import LogLine, decode
from lotus_durable.flusher.outbox import Outbox
from tests.rig import wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    yield ends
    for end in ends:
        os.close(end)


def read_lines(descriptor: int, is_all: Callable[[bytes], bool]) -> list[LogLine]:
    data = b""
    while not is_all(data):
        data += os.read(descriptor, 1 << 16)
    found = [decode(line) for line in data.splitlines()]
    assert all(isinstance(each, LogLine) for each in found)
    return [each for each in found if isinstance(each, LogLine)]


def test_log_lines_come_with_their_level_and_traceback(pipe: tuple[int, int]) -> None:
    with closing(Outbox(pipe[1], logging.INFO)) as outbox:
        try:
            raise ValueError("a bug")
        except ValueError as error:
            failure = (type(error), error, error.__traceback__)
        outbox.handle(logging.LogRecord("x", logging.ERROR, __file__, 1, "it %s", ("failed",), failure))
        [line] = read_lines(pipe[0], lambda data: data.endswith(b"\n"))
    assert line.level == logging.ERROR
    assert line.text.startswith("it failed\nTraceback")
    assert line.text.endswith("ValueError: a bug")


def test_what_a_pipe_does_not_hold_waits_and_comes_in_order(pipe: tuple[int, int]) -> None:
    texts = [f"{number} {'x' * 10_000}" for number in range(50)]
    with closing(Outbox(pipe[1], logging.INFO)) as outbox:
        for text in texts:
            outbox.send(LogLine(20, text))
        assert [line.text for line in read_lines(pipe[0], lambda data: data.count(b"\n") == 50)] == texts


def test_where_nobody_reads_the_oldest_are_dropped_and_that_is_told(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_MOST_BYTES", 200_000)
    with closing(Outbox(pipe[1], logging.INFO)) as outbox:
        for number in range(100):
            outbox.send(LogLine(20, f"{number} {'x' * 10_000}"))
        assert outbox._waiting <= 200_000
        lines = read_lines(pipe[0], lambda data: b'"99 ' in data and data.endswith(b"\n"))
    told = [line for line in lines if "were dropped" in line.text]
    assert {line.level for line in told} == {logging.WARNING}
    dropped = sum(int(line.text.split()[0]) for line in told)
    assert dropped > 50
    assert len(lines) - len(told) + dropped == 100


def test_closing_does_not_wait_for_one_who_never_reads(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_LAST_WORDS", 0.05)
    outbox = Outbox(pipe[1], logging.INFO)
    for _ in range(20):
        outbox.send(LogLine(20, "x" * 10_000))
    outbox.close()
    wait_until(lambda: not outbox._thread.is_alive() or not outbox._lines, "its thread to give up", timeout=60)


def test_one_who_is_gone_ends_the_sending() -> None:
    here, there = os.pipe()
    os.close(here)
    os.set_blocking(there, False)
    outbox = Outbox(there, logging.INFO)
    outbox.send(LogLine(20, "is anybody there?"))
    outbox._thread.join(20)
    assert not outbox._thread.is_alive()
    outbox.close()
    os.close(there)
