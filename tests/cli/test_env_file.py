"""The environment file: what it may say, and what it never shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lotus_durable.cli.env_file import environment
from lotus_durable.config import Config

from .conftest import CommandLine, Track


def read(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "lotus.env"
    file.write_text(text)
    return {name: value for name, value in environment(str(file))[0].items() if name.startswith("LOTUS_")}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LOTUS_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("LOTUS_HOST=https://a.example", "https://a.example"),
        ("  LOTUS_HOST = https://a.example  ", "https://a.example"),
        ('LOTUS_HOST="https://a.example"', "https://a.example"),
        ("LOTUS_HOST='https://a.example'", "https://a.example"),
        ("LOTUS_HOST=https://a.example?b=c", "https://a.example?b=c"),
        ("LOTUS_HOST=a'b", "a'b"),
        ("LOTUS_HOST=$HOME", "$HOME"),
    ],
)
def test_a_value_is_what_stands_behind_the_first_equals_sign(tmp_path: Path, line: str, value: str) -> None:
    assert read(tmp_path, f"{line}\n") == {"LOTUS_HOST": value}


def test_comments_blank_lines_and_names_of_others_say_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# LOTUS_HOST=x\n\n   \nDATABASE_URL=postgres://\n") == {}


def test_the_file_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTUS_HOST", "https://environment.example")
    monkeypatch.setenv("LOTUS_TIMEOUT", "7")
    assert read(tmp_path, "LOTUS_HOST=https://file.example") == {
        "LOTUS_HOST": "https://file.example",
        "LOTUS_TIMEOUT": "7",
    }


def test_a_key_in_the_file_wins_over_a_key_file_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOTUS_API_KEY_FILE", str(tmp_path / "missing"))
    found = read(tmp_path, "LOTUS_API_KEY=of-the-file")
    assert Config.resolve(environ=found).api_key == "of-the-file"


def test_nothing_of_it_is_put_into_the_environment_of_this_process(tmp_path: Path) -> None:
    read(tmp_path, "LOTUS_API_KEY=secret")
    assert "secret" not in os.environ.values()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        *((line, "NAME=value is needed") for line in ("LOTUS_API_KEY secret", "secret", "=secret", "a b=secret")),
        ("LOTUS_KEY=secret", "there is no option LOTUS_KEY"),
        ('LOTUS_API_KEY="secret # mine', "LOTUS_API_KEY: no quote ends the line"),
        ("LOTUS_TIMEOUT=soon", "LOTUS_TIMEOUT: a number is needed"),
    ],
)
def test_a_wrong_line_is_named_with_the_file_and_not_shown(
    command_line: CommandLine, tmp_path: Path, line: str, said: str
) -> None:
    file = tmp_path / "lotus.env"
    file.write_text(f"# first\n{line}\n")
    result = command_line.run("drain", "--env-file", str(file))
    assert result.code == 2
    assert f"environment file {file}, line 2: {said}" in result.one_error()
    assert "secret" not in result.one_error()


def test_a_file_that_is_no_text_is_refused(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "lotus.env"
    file.write_bytes(b"LOTUS_API_KEY=\xff\xfe")
    result = command_line.run("drain", "--env-file", str(file))
    assert (result.code, "holds no text" in result.one_error()) == (2, True)


@pytest.mark.parametrize("name", ["status", "drain", "flusher", "health", "stop"])
def test_every_command_takes_it_by_argument_or_variable(command_line: CommandLine, tmp_path: Path, name: str) -> None:
    file = tmp_path / "lotus.env"
    file.write_text("LOTUS_TIMEOUT=soon\n")
    for result in (
        command_line.run(name, "--env-file", str(file)),
        command_line.run(name, environment={"LOTUS_ENV_FILE": str(file)}),
    ):
        assert result.code == 2
        assert "LOTUS_TIMEOUT" in result.one_error()


def test_a_pipe_is_read_once(command_line: CommandLine, track: Track) -> None:
    track(1)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write(f"LOTUS_QUEUE_DIR={command_line.queue_dir}\n")
    try:
        result = command_line.run(
            "status", "--json", "--env-file", f"/dev/fd/{reading}", environment={"LOTUS_QUEUE_DIR": ""}
        )
    finally:
        os.close(reading)
    assert (result.json()["queue_dir_from"], result.json()["pending"]) == ("LOTUS_QUEUE_DIR", 1)
