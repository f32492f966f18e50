"""``lotus-durable doctor``: each question, answered well and badly."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.config import Config
from lotus_durable.operate import Answer, examination
from lotus_durable.operate.examination import examine
from lotus_durable.testing import FakeLotus, Faults, Redirect
from tests.flusher.tls import HttpsProxy

from .conftest import KEY, CommandLine, Refuse, Track

ABOUT = {
    "user", "directory", "file system", "locks", "disk", "queue", "flusher", "versions", "interpreter", "host", "key",
    "clock",
}  # fmt: skip


def answers(command_line: CommandLine, *arguments: str, **environment: str) -> dict[str, dict[str, Any]]:
    found = command_line.run("doctor", "--json", *arguments, environment=environment).json()
    return {answer["about"]: answer for answer in found["answers"]}


def examined(queue_dir: Path, **options: Any) -> dict[str, Answer]:
    config = Config.resolve({"queue_dir": queue_dir, "host": "http://127.0.0.1:1", **options})
    return {answer.about: answer for answer in examine(config)}


def test_where_all_is_well_each_question_has_a_line_and_the_code_is_0(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    track(1)
    result = command_line.run("doctor")
    assert result.code == 0
    lines = [line for line in result.output.splitlines() if not line.startswith("setting")]
    assert {line[9:20].strip() for line in lines} == ABOUT
    assert not [line for line in lines if line.startswith("WRONG")]
    found = answers(command_line)
    assert found["locks"]["mark"] == "ok"
    assert found["key"]["text"].startswith("of organisation ")
    assert found["clock"]["mark"] == "ok"
    assert fake_lotus.times_received == {}


def test_nothing_is_left_and_no_directory_is_made(command_line: CommandLine) -> None:
    found = answers(command_line)
    assert "is not there yet" in found["directory"]["text"]
    assert found["queue"]["text"] == "there is none yet"
    assert list(command_line.queue_dir.parent.iterdir()) == []


def test_the_key_is_never_shown_and_the_source_of_each_setting_is(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "lotus.env"
    file.write_text("\nLOTUS_TIMEOUT=7\n")
    arguments = ["doctor", "--env-file", str(file)]
    text = command_line.run(*arguments).output
    assert KEY not in text
    assert "setting  api_key = set, and not shown (LOTUS_API_KEY)" in text
    assert f"setting  timeout = (7.0, 7.0) (environment file {file}, line 2)" in text
    assert f"setting  queue_dir = {command_line.queue_dir} (LOTUS_QUEUE_DIR)" in text
    assert "flush_interval" not in text
    assert "setting  flush_interval = 0.5 (default)" in command_line.run(*arguments, "--settings").output
    found = command_line.run("doctor", "--json").json()["settings"]
    assert {"name": "api_key", "value": "set, and not shown", "source": "LOTUS_API_KEY"} in found
    assert KEY not in str(found)


def test_a_refused_key_and_a_missing_one_are_named(command_line: CommandLine) -> None:
    refused = command_line.run("doctor", environment={"LOTUS_API_KEY": "very-secret-wrong-key"})
    assert refused.code == 1
    assert "WRONG    key          the server refuses it (HTTP 401) - look at the key" in refused.output
    assert "very-secret" not in refused.output + refused.errors
    assert answers(command_line, LOTUS_API_KEY="")["key"]["remedy"] != ""


def test_a_server_of_2022_says_whether_it_knows_the_key(
    command_line: CommandLine, fake_lotus_factory: Callable[..., FakeLotus]
) -> None:
    older = fake_lotus_factory("L22", api_key=KEY)
    found = answers(command_line, LOTUS_HOST=older.host)
    assert found["key"]["mark"] == "ok"
    assert "of 2022" in found["key"]["text"]
    assert answers(command_line, LOTUS_HOST=older.host, LOTUS_API_KEY="wrong")["key"]["mark"] == "wrong"


def test_a_server_that_is_not_there_or_redirects_is_named(command_line: CommandLine, fake_lotus: FakeLotus) -> None:
    found = answers(command_line, LOTUS_HOST="http://127.0.0.1:1")
    assert found["server"]["mark"] == "wrong"
    assert "connection refused by http://127.0.0.1:1" in found["server"]["text"]
    fake_lotus.faults = Faults(rates={Redirect(): 1.0})
    assert "redirects" in answers(command_line)["server"]["text"]
    assert answers(command_line, LOTUS_HOST="https://127.0.0.1:1")["server"]["mark"] == "wrong"


def test_a_certificate_that_is_not_trusted_is_named(
    command_line: CommandLine, fake_lotus: FakeLotus, tmp_path: Path
) -> None:
    with contextlib.closing(HttpsProxy(tmp_path, fake_lotus.port)) as proxy:
        found = answers(command_line, LOTUS_HOST=proxy.host)
        assert (found["TLS"]["mark"], "key" in found) == ("wrong", False)
        assert found["TLS"]["text"] == f"certificate of {proxy.host} refused: self-signed certificate"
        assert "REQUESTS_CA_BUNDLE" in found["TLS"]["remedy"]
        trusted = answers(command_line, LOTUS_HOST=proxy.host, REQUESTS_CA_BUNDLE=str(tmp_path / "certificate.pem"))
        assert (trusted["TLS"]["mark"], trusted["key"]["mark"]) == ("ok", "ok")


def test_too_little_disk_and_another_version_in_use_are_named(
    tmp_path: Path, track: Track, flushing: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    track(1)
    flushing()
    monkeypatch.setattr(examination, "__version__", "0.0.9")
    monkeypatch.setattr(examination, "_FEW_FILES", 1 << 62)
    found = examined(tmp_path / "queue")
    assert (found["disk"].mark, found["versions"].mark) == ("warning", "warning")
    assert "files can be made" in found["disk"].text
    assert found["versions"].text == "this is 0.0.9; in use too: 0.1.0"


@pytest.mark.parametrize(("seconds", "mark"), [(5.0, "ok"), (600.0, "warning"), (90_000.0, "wrong")])
def test_a_clock_that_is_wrong_is_named(
    tmp_path: Path, fake_lotus: FakeLotus, monkeypatch: pytest.MonkeyPatch, seconds: float, mark: str
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)
    assert examined(tmp_path / "queue", host=fake_lotus.host, api_key=KEY)["clock"].mark == mark


@pytest.mark.parametrize(
    ("kind", "mark"), [("nfs4", "wrong"), ("tmpfs", "warning"), ("overlay", "warning"), ("xfs", "ok")]
)
def test_a_file_system_that_does_not_keep_events_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, mark: str
) -> None:
    monkeypatch.setattr(examination, "_mount_of", lambda _: ("/mnt", kind))
    assert examined(tmp_path / "queue")["file system"].mark == mark


def test_locks_that_are_not_seen_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "_can_lock", lambda _: True)
    assert examined(tmp_path / "queue")["locks"].mark == "wrong"


def test_no_interpreter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "find_interpreter", lambda: None)
    assert examined(tmp_path / "queue")["interpreter"].mark == "wrong"
    assert examined(tmp_path / "queue", flusher="external")["interpreter"].mark == "ok"


def test_who_flushes_is_said_as_it_is_set(command_line: CommandLine, track: Track) -> None:
    track(1)
    assert answers(command_line)["flusher"]["text"] == "none runs; the next event starts one"
    external = answers(command_line, LOTUS_FLUSHER="external")["flusher"]
    assert (external["mark"], external["text"]) == ("warning", "none runs, and no program starts one")
    assert "lotus-durable flusher" in external["remedy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_is_told_whose_queue_it_is(command_line: CommandLine, track: Track) -> None:
    assert "sudo -u …" in answers(command_line)["user"]["remedy"]
    track(1)
    assert answers(command_line)["user"] == {"about": "user", "mark": "ok", "text": "root (0)", "remedy": ""}
    os.chown(command_line.queue_dir, 65534, 65534)
    assert "sudo -u nobody" in answers(command_line)["user"]["remedy"]
    os.chown(command_line.queue_dir, 0, 0)


def test_an_unsafe_directory_and_dead_letters_are_named(command_line: CommandLine, refuse: Refuse) -> None:
    refuse(1)
    assert "lotus-durable dead-letters" in answers(command_line)["queue"]["remedy"]
    command_line.queue_dir.chmod(0o755)
    assert "chmod 700" in answers(command_line)["directory"]["remedy"]
    command_line.queue_dir.chmod(0o777)
    found = answers(command_line)
    assert found["directory"]["mark"] == "wrong"
    assert "can be written by others" in found["directory"]["text"]
    command_line.queue_dir.chmod(0o700)
    assert os.path.isdir(command_line.queue_dir)
