"""Where options come from, and how a wrong one is refused."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import pytest

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError


def test_an_argument_wins_over_a_setting_over_the_environment_over_the_default() -> None:
    environ = {"LOTUS_FLUSH_INTERVAL": "3", "LOTUS_HOST": "https://environment.example", "LOTUS_API_KEY": "from-env"}
    settings = {"flush_interval": 2, "host": "https://setting.example"}
    config = Config.resolve({"flush_interval": 1}, settings, environ)
    assert config.flush_interval == 1
    assert config.host == "https://setting.example"
    assert config.api_key == "from-env"
    assert config.max_batch_events == 500


def test_an_empty_environment_variable_counts_as_not_set() -> None:
    assert Config.resolve(environ={"LOTUS_FLUSHER": ""}).flusher == "auto"


def test_the_default_queue_directory_belongs_to_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Config.resolve().queue_dir == f"{tmp_path}/lotus_durable"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("timeout", "5,30", (5.0, 30.0)),
        ("timeout", "7", (7.0, 7.0)),
        ("send", "off", False),
        ("debug", "1", True),
        ("max_batch_events", "10", 10),
        ("host", "https://lotus.example.com/prefix/", "https://lotus.example.com/prefix"),
        ("queue_dir", "/tmp/../tmp/q", "/tmp/q"),
    ],
)
def test_an_environment_variable_is_read_as_its_option_needs(name: str, text: str, value: object) -> None:
    assert getattr(Config.resolve(environ={f"LOTUS_{name.upper()}": text}), name) == value


class Choice(str, Enum):  # noqa: UP042  # as applications have them: its text is not its value
    POWER, AUTO, EXTERNAL = "power", "auto", "external"


@pytest.mark.parametrize(
    ("name", "value"), [("durability", Choice.POWER), ("flusher", Choice.EXTERNAL), ("upload_concurrency", Choice.AUTO)]
)
def test_a_member_of_an_enum_is_the_choice_that_it_is_equal_to(name: str, value: Choice) -> None:
    assert repr(getattr(Config.resolve({name: value}), name)) == repr(value.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("api_key", "   ", "non-empty"),
        ("api_key", "new\nline", "HTTP header"),
        ("api_key", "schlüssel", "HTTP header"),
        ("host", "lotus.example.com", "a URL such as"),
        ("host", "ftp://lotus.example.com", "a URL such as"),
        ("host", "https://user:secret@lotus.example.com", "user names"),
        ("host", "https://lotus.example.com:port", "not a URL"),
        ("queue_dir", "", "a path"),
        ("queue_dir", "/var/lib\0/app", "a path"),
        ("queue_dir", "~nobody-of-that-name/lotus", "has no home directory"),
        ("debug", "maybe", "true or false"),
        ("on_error", 3, "callable"),
        ("durability", "eternal", "process, power"),
        ("sync_interval", 0, "at least"),
        ("flush_interval", "soon", "a number"),
        ("flush_interval", float("nan"), "finite"),
        ("flush_interval", True, "a number"),
        pytest.param("flush_interval", 10**400, "a number", id="flush_interval-of 400 digits"),
        ("max_batch_events", 0, "from 1"),
        ("max_batch_events", 1.5, "whole number"),
        ("max_event_bytes", 400_001, "from 256 to 400000"),
        ("timeout", (1, 2, 3), "two (connect, read)"),
        ("timeout", -1, "at least"),
        ("flusher", "nobody", "one of auto, external"),
        ("flusher", "thread", "one of auto, external"),
        ("max_queue_bytes", 1 << 20, "from 67108864"),
        ("backend", "redis", "one of journal, sqlite"),
    ],
)
def test_a_wrong_value_is_refused_with_its_option_and_the_reason(name: str, value: object, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.resolve({name: value})
    assert f"argument {name}: " in str(caught.value)
    assert reason in str(caught.value)


def test_a_wrong_environment_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="LOTUS_TIMEOUT: a number is needed"):
        Config.resolve(environ={"LOTUS_TIMEOUT": "quick"})


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^argument api_kye: no setting api_kye; did you mean api_key\?$"):
        Config.resolve({"api_kye": "x"})


@pytest.mark.parametrize("key", ["secret-key", "secret\nkey"])
def test_the_api_key_is_in_no_repr_and_no_error(key: str) -> None:
    try:
        shown = repr(Config.resolve({"api_key": key}))
    except ConfigurationError as error:
        shown = str(error) + repr(error)
    assert "secret" not in shown


def test_the_key_can_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("  the-key\n\n")
    for resolved in (
        Config.resolve({"api_key_file": file}, environ={"LOTUS_API_KEY": "x"}),
        Config.resolve({}, {"api_key_file": str(file), "api_key": "x"}, {}),
        Config.resolve(environ={"LOTUS_API_KEY_FILE": str(file), "LOTUS_API_KEY": "x"}),
    ):
        assert (resolved.api_key, resolved.api_key_file) == ("the-key", str(file))


def test_a_key_file_is_not_even_read_when_a_key_is_named_closer_to_the_call(tmp_path: Path) -> None:
    missing = {"LOTUS_API_KEY_FILE": str(tmp_path / "missing")}
    assert Config.resolve({"api_key": "the-key"}, environ=missing).api_key == "the-key"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"", "a non-empty string"),
        (b"secret\nsecret", "holds 2 lines"),
        (b"secret\xff", "holds no text"),
    ],
)
def test_a_wrong_key_file_is_refused_and_not_shown(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Config.resolve({}, {}, {"LOTUS_API_KEY_FILE": str(file)})
    assert "LOTUS_API_KEY" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "https://user:secret@lotus.example.com:port",
        "https://user:secret",
        "https://user:secret@lotus.example.com",
        "ftp://user:secret@lotus.example.com",
        "user:secret@lotus.example.com",
        "https://lotus.example.com/?key=secret",
        "https://[secret",
    ],
)
def test_a_refused_host_is_not_printed_because_it_may_hold_a_password(host: str) -> None:
    with pytest.raises(ConfigurationError, match="argument host: ") as refused:
        Config.resolve({"host": host})
    assert "secret" not in str(refused.value)
