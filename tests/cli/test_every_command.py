"""Each command from outside, on one queue after the other: as text, as JSON, on a terminal, piped, without a key."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lotus_durable.cli import entry
from lotus_durable.cli.command import Command
from lotus_durable.testing import FakeLotus

from .conftest import PROGRAM, CommandLine, Refuse, Track
from .terminal import Terminal, needs_tmux
from .test_mending import numbers

LOOKING = [
    "status", "health", "parked", "parked list", "parked show --event-name early", "parked export", "dead-letters",
    "dead-letters list", "dead-letters show --customer c2", "dead-letters export", "check", "repair", "export",
]  # fmt: skip
"""What changes nothing."""
CHANGING = [
    "parked retry --event-name early", "dead-letters retry --customer c2", "repair --apply", "drain", "verify", "adopt",
    "stop", "dead-letters purge --customer c2 --yes", "parked purge --all --yes", "erase --customer c1 --yes",
]  # fmt: skip
AS_LINES = ("show", "export")
"""They write an object for each event, with ``--json`` and without."""


@pytest.fixture
def queue(refuse: Refuse, track: Track) -> dict[str, int]:
    """A queue with some of everything; what is in it."""
    refuse(2, customer_id="c2")
    refuse(3, event_name="early", time_created=datetime.now(UTC) + timedelta(days=3))
    track(4)
    return {"accepted": 9, "dead_lettered": 2, "parked": 3, "pending": 4}


def documented(command_line: CommandLine, line: str, indent: int = 2) -> set[str]:
    """Return the keys of ``--json`` that the help of a command names; with 4, those of the object in it."""
    text = command_line.run(*line.split(), "--help").output
    [part] = re.findall(r"^keys of --json.*?:\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    lines = re.findall(rf"^ {{{indent}}}((?:\w+(?:, |\b))+)", part, re.MULTILINE)
    return {key for names in lines for key in names.split(", ")}


def test_each_is_in_one_of_the_lists() -> None:
    named = {line.split()[0] for line in (*LOOKING, *CHANGING)}
    otherwise = {"demo", "flusher", "relay", "doctor", "import", "backup"}  # no queue, no end, or a file is needed
    assert named | otherwise == {command.name for command in entry._COMMANDS}


@pytest.mark.parametrize("line", LOOKING)
def test_to_look_needs_neither_key_nor_host_and_is_text_or_json(
    command_line: CommandLine, queue: dict[str, int], fake_lotus: FakeLotus, line: str
) -> None:
    asked = len(fake_lotus.requests)
    bare = {"LOTUS_API_KEY": "", "LOTUS_HOST": ""}
    text = command_line.run_process(*line.split(), environment=bare)
    found = command_line.run_process(*line.split(), "--json", environment=bare)
    assert (text.code, text.errors, found.code, found.errors) == (0, "", 0, "")
    group, _, action = line.partition(" ")
    if action.startswith(AS_LINES) or group in AS_LINES:
        kind = {"parked": "parked", "dead-letters": "dead_lettered"}.get(group, "accepted")
        assert text.output.count('"idempotency_id"') == queue[kind]
    else:
        assert not text.output.startswith("{")
        assert found.output.count("\n") == 1
        assert set(found.json()) == documented(command_line, line)
    assert numbers(command_line) == queue
    assert len(fake_lotus.requests) == asked


def test_whatever_is_done_the_numbers_add_up(command_line: CommandLine, queue: dict[str, int], tmp_path: Path) -> None:
    file = tmp_path / "more.jsonl"
    file.write_text('{"customer_id": "c3", "event_name": "call"}\n')
    for line in (f"import {file}", f"backup {tmp_path}/copy", "doctor", *CHANGING):
        result = command_line.run_process(*line.split(), "--json")
        assert result.code == 0, (line, result)
        assert set(result.json()) == documented(command_line, line), line
        numbers(command_line)  # it makes sure
    assert numbers(command_line) == {"accepted": 10, "delivered": 5, "discarded": 5}
    assert numbers(command_line, "--queue-dir", str(tmp_path / "copy")) == {**queue, "accepted": 10, "pending": 5}


@needs_tmux
def test_a_terminal_shows_what_a_pipe_gets(
    command_line: CommandLine, queue: dict[str, int], terminal: Terminal
) -> None:
    del queue
    for line in (*LOOKING, "verify", "adopt", "stop", "doctor"):
        before = None
        # Of events that nobody sends, health says so when they are 30 s old: that may be between the two.
        while before != (piped := command_line.run_process(*line.split())).code:
            before = piped.code
            terminal.enter("clear")
            terminal.enter(f"{shlex.join([*PROGRAM, *line.split()])} 2>&1; echo the code of {shlex.quote(line)} is $?")
            shown = terminal.wait_for(f"\nthe code of {line} is ")
        assert f"\nthe code of {line} is {piped.code}" in shown
        first = re.sub(r" in [0-9.]+ s$", "", piped.output.splitlines()[0])
        assert first[:60] in shown, line


@pytest.mark.parametrize(
    "group", [command for command in entry._COMMANDS if command.actions], ids=lambda each: each.name
)
def test_actions_have_help_of_their_own(command_line: CommandLine, group: Command) -> None:
    for action in group.actions:
        text = command_line.run(group.name, action.name, "--help").output
        assert f"usage: lotus-durable {group.name} {action.name}" in text
        for part in ("examples:", "environment variables:", "exit codes:", "--json", "--queue-dir"):
            assert part in text, action.name
        for code, meaning in action.exit_codes.items():
            assert f"  {code:d}  {meaning}" in text
