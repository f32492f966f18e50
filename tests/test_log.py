"""The logger: the program's where it has imported logging, else plain text on standard error."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from lotus_durable.log import logger

UNCONFIGURED = """
import sys
import lotus_durable
from lotus_durable.log import logger
assert "logging" not in sys.modules
assert (logger.getEffectiveLevel(), logger.isEnabledFor(20), logger.isEnabledFor(30)) == (30, False, True)
logger.debug("%s of %s", 1, 2)
logger.info("information")
logger.warning("100 % plain")
logger.error("%d events", 3)
logger.log(40, "at a level")
try:
    raise ValueError("the reason")
except ValueError:
    logger.exception("it failed")
sys.stderr.close()
logger.error("nobody hears this")
sys.stderr = None
logger.error("nor this")
"""


def test_where_logging_is_not_imported_warnings_are_text_on_standard_error() -> None:
    result = subprocess.run(
        [sys.executable, "-c", UNCONFIGURED], capture_output=True, text=True, check=True, timeout=60
    )
    *lines, last = result.stderr.splitlines()
    assert lines[:5] == ["100 % plain", "3 events", "at a level", "it failed", "Traceback (most recent call last):"]
    assert last == "ValueError: the reason"
    assert result.stdout == ""


def test_where_logging_is_imported_it_is_the_programs_logger_also_of_who_imports_it_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "lotus_durable"):
        logger.debug("a %s", "step")
        assert logger.isEnabledFor(logging.DEBUG)
    [record] = caplog.records
    assert (record.name, record.getMessage(), record.filename) == ("lotus_durable", "a step", "test_log.py")


def test_a_program_in_the_middle_of_importing_logging_has_no_logger_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "logging", type(sys)("logging"))
    logger.warning("said all the same")
    assert capsys.readouterr().err == "said all the same\n"
