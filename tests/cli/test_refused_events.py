"""``lotus-durable dead-letters`` and ``lotus-durable parked``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.cli import refused_events
from lotus_durable.queue.directory import QueueDirectory
from tests.rig import wait_until

from .conftest import PROGRAM, CommandLine, Refuse, Track
from .terminal import Terminal, needs_tmux
from .test_mending import numbers

REASON = "Time created too far in the past or future."


def test_dead_letters_are_counted_by_reason(command_line: CommandLine, refuse: Refuse) -> None:
    refuse(3)
    result = command_line.run("dead-letters")
    assert (result.code, result.errors) == (0, "")
    first, second = result.output.splitlines()
    assert first == "3 dead letters"
    assert second.split(maxsplit=1)[0] == "3"
    assert REASON in second
    [reason] = command_line.run("dead-letters", "--json").json()["reasons"]
    assert reason["events"] == 3
    assert command_line.run("dead-letters", "--json").json()["total"] == 3


def test_a_queue_without_any_says_so(command_line: CommandLine, refuse: Refuse) -> None:
    refuse(0)
    for name, noun in (("dead-letters", "dead letters"), ("parked", "parked events")):
        assert command_line.run(name).output == f"0 {noun}\n"
        assert command_line.run(name, "list").output == f"no {noun}\n"
        assert command_line.run(name, "--json").json() == {"total": 0, "reasons": []}
        assert command_line.run(name, "list", "--json").json() == {"events": [], "next": None}
        assert command_line.run(name, "export").output == ""
        assert command_line.run(name, "retry", "--all", "--json").json() == {"changed": 0, "left": 0}


@pytest.mark.parametrize("state", ["dead-letters", "parked"])
def test_books_that_cannot_be_read_are_not_taken_for_empty_ones(
    command_line: CommandLine, refuse: Refuse, tmp_path: Path, state: str
) -> None:
    refuse(3)
    books = Path(command_line.directory.books)
    books.rename(tmp_path / "elsewhere")
    os.mkfifo(books)
    for arguments in (
        [state],
        [state, "list"],
        [state, "show"],
        [state, "export", "--output", str(tmp_path / "letters.jsonl")],
        ["adopt"],
        ["backup", str(tmp_path / "copy")],
    ):
        result = command_line.run(*arguments)
        assert (result.code, result.output) == (3, ""), arguments
        assert "is no regular file" in result.one_error()
    assert not (tmp_path / "letters.jsonl").exists()
    assert not (tmp_path / "copy").exists()


def test_they_are_listed_with_filters_a_page_at_a_time(command_line: CommandLine, refuse: Refuse) -> None:
    ids = refuse(3)
    [other] = refuse(1, customer_id="c2", event_name="upload")
    text = command_line.run("dead-letters", "list").output
    assert [line.split()[1] for line in text.splitlines()] == [*ids, other]
    assert f"{other}  upload of c2, accepted " in text
    for arguments, expected in (
        (["--customer", "c2"], [other]),
        (["--event-name", "api_call", "--limit", "2"], ids[:2]),
        (["--id", ids[1], "--id", other], [ids[1], other]),
        (["--older-than", "1d"], []),
        (["--newer-than", "1d"], [*ids, other]),
        (["--reason", "no such"], []),
        (["--reason", "TIME CREATED", "--customer", "c1", "--event-name", "api_call"], ids),
        (["--customer", "c2", "--event-name", "api_call"], []),
    ):
        listed = command_line.run("dead-letters", "list", "--json", *arguments).json()
        assert [event["idempotency_id"] for event in listed["events"]] == expected, arguments
    page = command_line.run("dead-letters", "list", "--json", "--limit", "2").json()
    rest = command_line.run("dead-letters", "list", "--json", "--after", str(page["next"])).json()
    assert [event["idempotency_id"] for event in rest["events"]] == [ids[2], other]
    assert rest["next"] is None
    assert f"--after {page['next']}" in command_line.run("dead-letters", "list", "--limit", "2").output


def test_one_is_shown_with_everything(command_line: CommandLine, refuse: Refuse) -> None:
    [id_, _] = refuse(2, properties={"mb": 1.5})
    shown = json.loads(command_line.run("dead-letters", "show", "--id", id_).output)
    assert shown["properties"] == {"mb": 1.5}
    assert (shown["state"], shown["attempts"], shown["time_created"]) == (
        "dead_letter",
        1,
        "2020-01-01T00:00:00.000000Z",
    )
    description = command_line.run("dead-letters", "show", "--help").output
    assert not {key for key in shown if key not in description}


def test_they_are_exported_as_json_lines_and_stay(command_line: CommandLine, refuse: Refuse, tmp_path: Path) -> None:
    ids = refuse(3)
    lines = command_line.run("dead-letters", "export").output.splitlines()
    assert [json.loads(line)["idempotency_id"] for line in lines] == ids
    file = tmp_path / "letters.jsonl"
    result = command_line.run("dead-letters", "export", "--output", str(file))
    assert result.output == f"3 dead letters written to {file}\n"
    assert file.read_text().splitlines() == lines
    assert file.stat().st_mode & 0o777 == 0o600
    assert command_line.run("dead-letters", "--json").json()["total"] == 3


def test_retry_and_purge_change_the_six_numbers_as_they_say(command_line: CommandLine, refuse: Refuse) -> None:
    ids = refuse(5)
    other = ["--customer", "c2", "--event-name", "api_call", "--newer-than", "1h", "--json"]
    assert command_line.run("dead-letters", "retry", *other).json() == {"changed": 0, "left": 0}
    bare = {"LOTUS_API_KEY": "", "LOTUS_HOST": ""}  # neither is needed
    retried = command_line.run("dead-letters", "retry", "--id", ids[0], "--json", environment=bare)
    assert retried.json() == {"changed": 1, "left": 0}
    assert numbers(command_line) == {"accepted": 5, "parked": 1, "dead_lettered": 4}
    said = command_line.run("dead-letters", "purge", "--yes", "--id", ids[1], "--id", ids[2]).output
    assert said == "2 dead letters purged; they count as discarded\n"
    assert numbers(command_line) == {"accepted": 5, "parked": 1, "dead_lettered": 2, "discarded": 2}
    assert command_line.run("parked", "purge", "--all", "--yes", "--json").json() == {"changed": 1}
    assert numbers(command_line) == {"accepted": 5, "dead_lettered": 2, "discarded": 3}


@pytest.mark.parametrize("verb", ["retry", "purge"])
def test_what_is_meant_must_be_said(command_line: CommandLine, refuse: Refuse, verb: str) -> None:
    refuse(1)
    for arguments in ([], ["--all", "--customer", "c1"]):
        result = command_line.run("dead-letters", verb, *arguments)
        assert result.code == 2
        assert "say which events are meant" in result.one_error()


def test_nothing_is_purged_where_nobody_can_be_asked(command_line: CommandLine, refuse: Refuse) -> None:
    refuse(1)
    result = command_line.run("dead-letters", "purge", "--all", "--json")
    assert result.code == 2
    assert "confirm with --yes" in result.json()["error"]
    assert command_line.run("dead-letters", "--json").json()["total"] == 1


@needs_tmux
def test_a_person_is_asked_before_a_purge(command_line: CommandLine, refuse: Refuse, terminal: Terminal) -> None:
    refuse(2)
    terminal.type(*PROGRAM, "dead-letters", "purge", "--all")
    terminal.wait_for("Throw 2 dead letters away, for good? [y/N]")
    terminal.enter("no")
    terminal.wait_for("nothing was purged")

    def clear() -> None:
        terminal.enter("clear")
        wait_until(lambda: "purge" not in terminal.screen(), "the screen to be clear")

    for key, said in (("C-c", "interrupted: nothing was changed"), ("C-d", "nothing was purged")):
        clear()
        terminal.type(*PROGRAM, "dead-letters", "purge", "--all")
        terminal.wait_for("for good? [y/N]")
        terminal.press(key)
        terminal.wait_for(f"\nlotus-durable dead-letters purge: {said}")
    assert command_line.run("dead-letters", "--json").json()["total"] == 2
    clear()
    terminal.type(*PROGRAM, "dead-letters", "purge", "--all")
    terminal.wait_for("for good? [y/N]")
    terminal.enter("y")
    terminal.wait_for("2 dead letters purged")
    assert command_line.run("dead-letters", "--json").json()["total"] == 0


@needs_tmux
def test_a_pager_that_is_stopped_does_not_keep_the_books_open(
    command_line: CommandLine, refuse: Refuse, terminal: Terminal
) -> None:
    refuse(600, properties={"text": "x" * 200})
    directory = QueueDirectory(command_line.queue_dir)
    program = " ".join(PROGRAM)
    terminal.enter(f"{program} dead-letters export | less")
    terminal.wait_for("idempotency_id")
    terminal.press("C-z")
    terminal.wait_for("Stopped")
    for _ in range(8):  # each moves and writes all of them
        command_line.run("dead-letters", "retry", "--all")
        command_line.run("drain")
    log = Path(f"{directory.books}-wal")
    wait_until(lambda: log.stat().st_size < 8 * 1024 * 1024, "the log to stay small")
    terminal.enter("kill %1")


def test_what_an_event_holds_cannot_command_a_terminal(command_line: CommandLine, refuse: Refuse) -> None:
    refuse(1, customer_id="c\x1b[31m1", event_name="e\x07")
    text = command_line.run("dead-letters", "list").output
    assert "\x1b" not in text
    assert "\x07" not in text


def test_what_a_server_says_and_a_file_is_called_cannot_either(
    command_line: CommandLine, track: Track, flushing: Callable[..., None]
) -> None:
    track(1)
    flushing("blocked", reason="not Lotus: \x1b[31m")
    Path(command_line.directory.journal, "\x1b[31m.txt").touch()
    for line in ("status", "health", "check", "repair", "doctor"):
        result = command_line.run(line)
        assert "[31m" in result.output, line
        assert "\x1b" not in result.output + result.errors


def test_a_filter_that_is_empty_takes_no_events_of_others(command_line: CommandLine, refuse: Refuse) -> None:
    refuse(2)
    for command in (
        ["erase", "--customer", "", "--yes"],
        ["dead-letters", "purge", "--customer", "", "--older-than", "0s", "--yes"],
        ["dead-letters", "purge", "--reason", "", "--event-name", "api_call", "--yes"],
        ["dead-letters", "retry", "--id", "", "--newer-than", "1d"],
        ["dead-letters", "export", "--output", ""],
    ):
        result = command_line.run(*command)
        assert (result.code, result.output) == (2, ""), command
        assert "it is empty" in result.one_error()
    assert command_line.run("dead-letters", "--json").json()["total"] == 2


def test_a_page_says_that_more_follow_only_where_more_do(command_line: CommandLine, refuse: Refuse) -> None:
    refuse(2)
    refuse(2, customer_id="c2")
    for arguments, shown, more in (
        (["--limit", "4"], 4, None),
        (["--limit", "3"], 3, 3),
        (["--limit", "2", "--customer", "c1"], 2, None),
        (["--limit", "1", "--customer", "c2"], 1, 3),
        (["--after", "4"], 0, None),
        (["--after", "9" * 18], 0, None),
    ):
        page = command_line.run("dead-letters", "list", "--json", *arguments).json()
        assert (len(page["events"]), page["next"]) == (shown, more), arguments
    for wrong in ("-1", "many", "9" * 30):
        assert command_line.run("dead-letters", "list", "--limit", wrong).code == 2


def test_what_the_terminal_has_no_character_for_is_shown_as_an_escape(
    command_line: CommandLine, refuse: Refuse
) -> None:
    refuse(2, customer_id="Jürgen")
    for encoding, name in (("ascii", "J\\xfcrgen"), ("utf-8", "Jürgen")):
        result = command_line.run_process(
            "dead-letters", "list", "--limit", "1", environment={"PYTHONIOENCODING": encoding}
        )
        assert (result.code, result.errors) == (0, "")
        assert name in result.output


def test_a_purge_takes_only_what_was_there_when_it_asked(
    command_line: CommandLine, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confirmed(*_: object) -> bool:
        refuse(3)  # while a person thinks
        return True

    refuse(2)
    monkeypatch.setattr(refused_events, "confirmed", confirmed)
    assert command_line.run("dead-letters", "purge", "--all").output.startswith("2 dead letters purged")
    assert command_line.run("dead-letters", "--json").json()["total"] == 3
    assert command_line.run("dead-letters", "purge", "--all", "--yes").output.startswith("3 dead letters purged")
