"""How far a command is, on terminals and elsewhere."""

from __future__ import annotations

import io
import logging
import os
import sys

import pytest

from lotus_durable.cli import progress as module
from lotus_durable.cli import wording
from lotus_durable.cli.logs import logged, logger
from lotus_durable.cli.progress import Progress
from lotus_durable.errors import QueueDamaged


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_there_is_a_line_now_and_then_and_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "_LINE_INTERVAL", 0.0)
    with Progress("tracked") as progress:
        progress.tell("a step")
        progress.show(0, 2000)
        progress.show(1000, 2000)
        progress.show(1000, 2000)
    assert stream.getvalue().startswith("tracked 1,000 of 2,000")
    assert stream.getvalue().count("\n") == 1


def test_the_lines_come_no_faster_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "_LINE_INTERVAL", 3600.0)
    with Progress("delivered") as progress:
        for done in range(100):
            progress.show(done, 100)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_quiet_command_shows_nothing(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "_LINE_INTERVAL", 0.0)
    monkeypatch.setattr(module, "_SCREEN_INTERVAL", 0.0)
    with Progress("delivered", is_quiet=True) as progress:
        progress.tell("a step")
        progress.show(1, 2)
    assert stream.getvalue() == ""


def test_a_terminal_shows_steps_above_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "_SCREEN_INTERVAL", 0.0)
    with Progress("tracked") as progress:
        progress.tell("a step [with brackets]")
        progress.show(1000, 2000)
        progress.show(1500, 2000)
    assert "a step [with brackets]\n" in stream.getvalue()
    assert f"[{'#' * 22}{' ' * 8}] tracked 1,500 of 2,000" in stream.getvalue()
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().endswith("tracked 1,500 of 2,000\n")


def test_a_line_is_no_longer_than_the_terminal_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(stream, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((20, 5)))
    monkeypatch.setattr(module, "_SCREEN_INTERVAL", 0.0)
    with Progress("tracked") as progress:
        progress.show(1000, 2000)
        assert stream.getvalue().rpartition("K")[2] == f"[{'#' * 15}   "


def test_an_exception_is_a_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(logging.INFO, "%(levelname)s %(message)s"):
        try:
            raise OSError(28, "No space left\non device")
        except OSError:
            logger.exception("flushing failed")
    assert capsys.readouterr().err == "ERROR flushing failed: OSError: [Errno 28] No space left on device\n"


def test_in_debug_mode_there_are_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(logging.ERROR, "%(message)s", debug=True):
        logger.debug("a detail")
        try:
            raise OSError
        except OSError:
            logger.exception("flushing failed")
    errors = capsys.readouterr().err
    assert "a detail" in errors
    assert "Traceback" in errors


def test_a_reported_error_is_logged_unless_it_just_was(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(logging.ERROR, "%(message)s") as log:
        log.report(QueueDamaged("damage one"), [])
        logger.error("held: damage two")
        log.report(QueueDamaged("damage two"), [])
        logger.warning("damage three, which was not shown")
        log.report(QueueDamaged("damage three"), [])
    assert capsys.readouterr().err.splitlines() == ["damage one", "held: damage two", "damage three"]


def test_the_log_leaves_the_logger_as_it_was() -> None:
    before = (logger.level, logger.propagate, list(logger.handlers))
    with logged(logging.INFO, "%(message)s"):
        assert logger.level == logging.INFO
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (7300, "2 hours"),
        (1e6, "11 days"),
    ],
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "1 byte"), (999, "999 bytes"), (1500, "1.5 kB"), (999_999, "1.0 MB"), (2e9, "2.0 GB"), (3e15, "3000.0 TB")],
)
def test_a_size_in_words(number: int, words: str) -> None:
    assert wording.size(int(number)) == words
