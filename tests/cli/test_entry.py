"""What all commands have in common: help, errors in one line, exit codes, closed pipes."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_durable import settings
from lotus_durable._version import __version__
from lotus_durable.cli import entry, status
from lotus_durable.cli.command import Command, environment_help
from lotus_durable.cli.output import ExitCode
from lotus_durable.config import describe
from lotus_durable.disk import DatabaseDamaged
from lotus_durable.errors import DiskRefused, QueueDamaged
from lotus_durable.options import environment_name

from .conftest import PROGRAM, CommandLine, Track

NAMES = [command.name for command in entry._COMMANDS]
EVERY = ["status", "drain", "flusher", "health", "stop", "adopt"]
_NEEDED = {"import": [os.devnull], "backup": ["copy"], "erase": ["--customer", "c1", "--yes"]}
OF_A_QUEUE = ["status", "drain", "health", "stop", "dead-letters", "parked", "check", "repair", "export"]
"""Those that look at a queue that is there already."""


@pytest.mark.parametrize("command", entry._COMMANDS, ids=NAMES)
def test_help_lists_the_variables_a_command_uses_and_its_exit_codes(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        entry.main([command.name, "--help"])
    text = capsys.readouterr().out
    for option in command.options:
        assert environment_name(option) in text
    assert "--queue-dir" in text
    assert ("--json" in text) == command.reports
    assert command.examples
    for line in command.examples.splitlines():
        assert f"\n  {line}\n" in text
    for code, meaning in command.exit_codes.items():
        assert f"  {code:d}  {meaning}" in text


def test_the_help_of_a_variable_is_the_description_of_its_option() -> None:
    [about] = [about for name, _, about in describe() if name == "flush_interval"]
    assert environment_help(["flush_interval"]).splitlines() == [
        "environment variables:",
        f"  LOTUS_FLUSH_INTERVAL  {about} (default: 0.5)",
    ]
    assert "none" in environment_help([])


def test_the_console_script_is_the_same_program(command_line: CommandLine) -> None:
    assert command_line.run("--version").output == f"lotus-durable {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["explode"],
        ["status", "--explode"],
        ["drain", "--timeout", "soon"],
        ["drain", "--timeout", "-1"],
        ["drain", "--timeout", "nan"],
        ["health", "--max-pending", "few"],
        ["stop", "--timeout", "inf"],
        ["demo", "--events", "0"],
        ["demo", "--events", "many"],
        ["demo", "--kills", "-1"],
        ["flusher", "--json"],
        ["dead-letters", "list", "--older-than", "yesterday"],
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lotus-durable")
    assert "--help" in line


@pytest.mark.parametrize("name", EVERY)
def test_a_wrong_variable_is_one_line_and_code_2(command_line: CommandLine, name: str) -> None:
    result = command_line.run(name, environment={"LOTUS_TIMEOUT": "soon"})
    assert result.code == 2
    assert result.one_error().startswith(f"lotus-durable {name}: LOTUS_TIMEOUT: ")


@pytest.mark.parametrize("name", EVERY)
def test_an_unsafe_directory_is_one_line_and_code_2(command_line: CommandLine, name: str) -> None:
    command_line.queue_dir.mkdir()
    command_line.queue_dir.chmod(0o777)
    result = command_line.run(name)
    assert result.code == 2
    assert "can be written by others" in result.one_error()


@pytest.mark.parametrize("name", OF_A_QUEUE)
def test_a_directory_without_a_queue_is_said_and_not_made_one(command_line: CommandLine, name: str) -> None:
    missing = command_line.run(name)
    assert missing.code == 2
    assert f"{command_line.queue_dir} does not exist" in missing.one_error()
    assert not command_line.queue_dir.exists()
    command_line.queue_dir.mkdir()
    empty = command_line.run(name, "--queue-dir", str(command_line.queue_dir))
    assert empty.code == 2
    assert "holds no queue" in empty.one_error()
    assert list(command_line.queue_dir.iterdir()) == []


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lotus-durable queue\nformat 2\nid of-another-kind\n", "use a newer version of lotus-durable"),
        ("nonsense", "cannot be read"),
    ],
    ids=["later version", "damaged"],
)
def test_a_queue_that_this_version_must_leave_alone_is_one_line_and_code_3(
    command_line: CommandLine, track: Track, name: str, content: str, said: str
) -> None:
    track(3)
    identity = Path(command_line.directory.identity)
    identity.write_text(content)
    result = command_line.run(name)
    assert result.code == 3
    assert said in result.one_error()
    assert identity.read_text() == content
    assert not Path(command_line.directory.books).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        *([command.name, *_NEEDED.get(command.name, ())] for command in entry._COMMANDS if command.reports),
        *([group, action, "--all"] for group in ("parked", "dead-letters") for action in ("retry", "purge")),
        *([group, action] for group in ("parked", "dead-letters") for action in ("list", "show", "export")),
    ],
    ids=" ".join,
)
def test_with_json_an_error_is_an_object_too(command_line: CommandLine, arguments: list[str]) -> None:
    command_line.queue_dir.write_text("a file")
    needed = ["--id", "x"] if arguments[-1] == "show" else []
    result = command_line.run(*arguments, *needed, "--json", "--queue-dir", str(command_line.queue_dir))
    if arguments == ["doctor"]:
        assert (result.code, result.json()["ok"]) == (1, False)  # to look is what it is for
        return
    assert result.code == 2
    name = " ".join(arguments[: 1 + (arguments[0] in ("parked", "dead-letters"))])
    assert result.one_error() == f"lotus-durable {name}: {result.json()['error']}"
    assert str(command_line.queue_dir) in result.one_error()
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("command", entry._COMMANDS, ids=NAMES)
def test_with_json_wrong_usage_is_an_object_too(command: Command, command_line: CommandLine) -> None:
    result = command_line.run(command.name, "--json", "--explode")
    assert result.code == 2
    assert result.one_error().endswith(f": {result.json()['error']}")


@pytest.mark.parametrize(
    ("arguments", "module", "is_command"),
    [
        (["/venv/bin/lotus-durable", "status"], [], True),
        (["-m", "status", "--json"], ["-m", "lotus_durable"], True),
        (["-m", "status"], ["-Imlotus_durable"], True),
        (["/app/manage.py", "lotus-durable"], [], False),
        (["/app/acme-lotus-durable"], [], False),
        (["-m", "status"], ["-m", "acme_lotus_durable"], False),
        (["-m", "lotus_durable"], ["-m", "app"], False),
        ([], [], False),
    ],
)
def test_a_command_is_told_from_a_program_that_tracks_and_looks_when_it_imports(
    arguments: list[str], module: list[str], is_command: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr("sys.orig_argv", ["python", *module, *arguments[1:]])
    assert settings._is_command() == is_command


def test_the_key_is_printed_by_no_command(command_line: CommandLine, track: Track) -> None:
    track(3)
    secret = {"LOTUS_API_KEY": "very-secret-key-of-mine", "LOTUS_DEBUG": "1"}
    for arguments in (["status"], ["status", "--json"], ["drain"], ["drain", "--json", "--timeout", "1"], ["stop"]):
        result = command_line.run_process(*arguments, environment=secret)
        assert "very-secret" not in result.output + result.errors
    unusable = command_line.run("flusher", environment={"LOTUS_API_KEY": "very-secret-kéy"})
    assert unusable.code == 2
    assert "very-secret" not in unusable.one_error()


def _failing(error: BaseException) -> Command:
    def run(_options: argparse.Namespace) -> ExitCode:
        raise error

    return replace(status.COMMAND, run=run)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (QueueDamaged("the queue\nis damaged"), 3, "the queue is damaged"),
        (DatabaseDamaged("the books: malformed"), 3, "the books: malformed"),
        (DiskRefused("no room"), 2, "no room"),
        (PermissionError(13, "Permission denied", "/q"), 2, "/q: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("division by zero"), 1, "a defect of this program (ZeroDivisionError: division by zero)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_line(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("LOTUS_DEBUG", raising=False)
    monkeypatch.setattr(entry, "_COMMANDS", (_failing(error),))
    assert entry.main(["status"]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lotus-durable status: ")
    assert said in line


def test_in_debug_mode_a_defect_shows_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOTUS_DEBUG", "1")
    monkeypatch.setattr(entry, "_COMMANDS", (_failing(ZeroDivisionError()),))
    assert entry.main(["status"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["status", "--json"]])
def test_a_closed_pipe_ends_it_quietly(
    command_line: CommandLine, track: Track, arguments: list[str], unbuffered: str
) -> None:
    track(1)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody_reads:
        result = subprocess.run(
            [*PROGRAM, *arguments],
            env={**command_line.environment, "PYTHONUNBUFFERED": unbuffered},
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    codes = {128 + signal.SIGPIPE}
    if "--help" in arguments:
        codes.add(0)  # argparse forgives a write that fails
    assert result.returncode in codes
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [["status", "--watch", "1e300"], ["verify", "--hours", "9" * 400]])
def test_a_number_beyond_all_measure_is_wrong_usage(
    command_line: CommandLine, track: Track, arguments: list[str]
) -> None:
    track(1)
    result = command_line.run(*arguments)
    assert result.code == 2
    assert "is needed" in result.one_error()
