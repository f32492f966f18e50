"""How commands behave towards people, pipes and shells."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lotus_durable.testing import Away, Delay, FakeLotus, Faults

from .conftest import KEY, PROGRAM, CommandLine, Refuse, Track, wait_until
from .terminal import Terminal, needs_tmux

SECRET = "very-secret-key-of-mine"


def shell(command_line: CommandLine, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = f'"$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", line, "sh", *PROGRAM, *arguments],
        env=command_line.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&-"])
@pytest.mark.parametrize("arguments", [["drain"], ["status"], ["dead-letters"], ["export"], ["--help"]])
def test_closed_streams_are_no_error(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus, redirection: str, arguments: list[str]
) -> None:
    ids = track(2)
    result = shell(command_line, redirection, *arguments)
    told = re.sub(r"delivered \d of 2\n", "", result.stderr)  # said by a drain that takes seconds
    assert (result.returncode, told) == (0, "")
    if arguments == ["drain"]:
        assert set(fake_lotus.times_received) == set(ids)


@pytest.mark.parametrize("arguments", [["drain"], ["status", "--json"], ["export"]])
def test_an_output_that_is_full_is_not_the_queues_disk(
    command_line: CommandLine, track: Track, arguments: list[str]
) -> None:
    track(2)
    result = shell(command_line, "> /dev/full", *arguments)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "standard output takes no writes: No space left on device; what the command does to a queue is done" in line


def test_a_quiet_drain_says_nothing_but_a_failure(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    track(2)
    result = command_line.run("drain", "--quiet")
    assert (result.code, result.output, result.errors) == (0, "", "")
    track(1)
    fake_lotus.rotate_key("another")
    failed = command_line.run("drain", "--quiet", "--timeout", "5")
    assert (failed.code, failed.output) == (1, "")
    assert "not complete, 1 event pending" in failed.one_error()


def test_a_piped_drain_speaks_only_when_something_has_changed(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    track(2)
    fake_lotus.faults = Faults(script=[Away(12.0)], path="/api/track/")
    result = command_line.run("drain", "--timeout", "14")
    lines = [line for line in result.errors.splitlines() if line.startswith("delivered ")]
    assert len(lines) <= 2
    assert len(set(lines)) == len(lines)


def test_ctrl_c_says_what_was_done_and_the_next_drain_completes_it(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    ids = track(300)
    fake_lotus.faults = Faults(rates={Delay(0.3): 1.0}, path="/api/track/")
    process = command_line.start("drain", environment={"LOTUS_MAX_BATCH_EVENTS": "10"})
    fake_lotus.wait_for(20)
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    last = errors.splitlines()[-1]
    assert re.fullmatch(
        r"lotus-durable drain: interrupted: delivered \d+ of 300; what is pending stays in the queue", last
    )
    fake_lotus.faults = Faults()
    assert command_line.run("drain").code == 0
    assert set(fake_lotus.times_received) == set(ids)


@needs_tmux
def test_a_drain_on_a_terminal_shows_rate_and_end(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus, terminal: Terminal
) -> None:
    track(600)
    fake_lotus.faults = Faults(rates={Delay(0.2): 1.0}, path="/api/track/")
    terminal.enter("export LOTUS_MAX_BATCH_EVENTS=20")
    terminal.type(*PROGRAM, "drain")
    screen = terminal.wait_for(" left")
    assert " a second, " in screen
    assert " of 600 (" in screen
    terminal.press("C-c")
    terminal.wait_for("interrupted: ")
    assert command_line.run("status", "--json").json()["pending"] > 0


@pytest.mark.parametrize("given", [["--api-key", SECRET], [f"--api-key={SECRET}"], ["--apikey", SECRET]])
def test_a_key_in_the_arguments_is_refused_and_not_printed(command_line: CommandLine, given: list[str]) -> None:
    result = command_line.run("drain", "--json", *given)
    assert result.code == 2
    assert "--api-key-file" in result.one_error()
    assert SECRET not in result.errors + result.output


def test_the_environment_file_passes_over_what_systemd_does(
    command_line: CommandLine, track: Track, tmp_path: Path
) -> None:
    track(1)
    file = tmp_path / "lotus.env"
    file.write_text(
        "\ufeff; a comment\n# another\nMY-VAR=1\nLOTUS_SERVICE_HOST=10.0.0.1\nLOTUS_PORT_80_TCP=tcp://1\n"
        f"PATH=/bin\nLOTUS_API_KEY='{KEY}'\n"
    )
    result = command_line.run("drain", "--env-file", str(file), environment={"LOTUS_API_KEY": "wrong"})
    assert (result.code, result.errors) == (0, "")


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbftest-key\n", b'"test-key"', b"'test-key'\n\n", b"LOTUS_API_KEY=test-key\n",
                b'export LOTUS_API_KEY="test-key"\r\n']
)  # fmt: skip
def test_a_key_file_is_understood_as_people_write_it(
    command_line: CommandLine, track: Track, tmp_path: Path, content: bytes
) -> None:
    track(1)
    file = tmp_path / "key"
    file.write_bytes(content)
    result = command_line.run("drain", "--api-key-file", str(file), environment={"LOTUS_API_KEY": ""})
    assert (result.code, result.errors) == (0, "")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"test-key\nother-key\n", "holds 2 lines"), (b"SECRET_KEY=test-key\n", "holds SECRET_KEY=…"), (b"\n", "empty")],
)
def test_what_is_no_key_file_is_named_as_that(
    command_line: CommandLine, tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    result = command_line.run("drain", "--api-key-file", str(file), environment={"LOTUS_API_KEY": ""})
    assert result.code == 2
    assert said in result.one_error()
    assert "test-key" not in result.one_error()


def test_an_interrupted_import_says_that_nothing_was_imported(command_line: CommandLine, tmp_path: Path) -> None:
    line = '{"customer_id": "c1", "event_name": "a"}'
    pipe = subprocess.Popen(["sh", "-c", f"yes '{line}' | head -n 50000; exec sleep 60"], stdout=subprocess.PIPE)
    process = subprocess.Popen(
        [*PROGRAM, "import", "-"], env=command_line.environment, stdin=pipe.stdout, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: bool(list(tmp_path.glob("queue/journal/*.new"))), "the import to begin")
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    pipe.kill()
    pipe.communicate()
    assert process.returncode == 130
    assert re.fullmatch(r"lotus-durable import: interrupted: (read .*; )?nothing was imported\n", errors)
    assert not list(tmp_path.glob("queue/journal/*"))


def test_a_purge_and_a_retry_that_are_done_show_no_progress_in_a_pipe(
    command_line: CommandLine, refuse: Refuse
) -> None:
    refuse(3)
    assert command_line.run("dead-letters", "retry", "--all").errors == ""
