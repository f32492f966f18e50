"""What starter and child tell each other survives the way, and another version at the other end."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lotus_durable import DiskRefused, EventRefused, InvalidEvent, LotusError
from lotus_durable.config import Config
from lotus_durable.flusher.messages import (
    LogLine,
    Ready,
    Refused,
    Trouble,
    configuration_of,
    decode,
    encode,
    start_message,
)


def config(tmp_path: Path, **options: Any) -> Config:
    return Config.resolve({"api_key": "key", "queue_dir": tmp_path, "host": "https://lotus.example.com", **options})


def test_a_child_gets_every_option_but_what_is_its_starters_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOTUS_FLUSH_INTERVAL", "3")
    starters = config(
        tmp_path,
        flusher="process",
        debug=True,
        on_error=print,
        timeout=(1.5, 7.0),
        durability="power",
        api_key="k",
    )
    start = json.loads(start_message(starters, logging.INFO))
    childs = configuration_of(start)
    assert (childs.flusher, childs.debug, childs.on_error) == ("thread", False, None)
    for name in Config.__dataclass_fields__:
        if name not in ("flusher", "debug", "on_error"):
            assert getattr(childs, name) == getattr(starters, name), name


def test_options_that_another_version_has_or_lacks_are_left_out_or_as_they_are_by_default(tmp_path: Path) -> None:
    start = json.loads(start_message(config(tmp_path), logging.INFO))
    start["config"]["invented_later"] = 1
    del start["config"]["probe_interval"]
    assert configuration_of(start).probe_interval == Config.__dataclass_fields__["probe_interval"].default


def test_a_child_looks_for_modules_where_its_starter_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", "lib", "/opt/app"])
    start = json.loads(start_message(config(tmp_path), logging.INFO))
    assert start["path"] == [os.getcwd(), f"{os.getcwd()}/lib", "/opt/app"]


@pytest.mark.parametrize("message", [Ready(), Refused("why"), LogLine(logging.WARNING, "ünïcode\nin two lines")])
def test_a_message_is_one_line_and_comes_as_it_was_sent(message: Ready | Refused | LogLine) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize("kind", [EventRefused, DiskRefused, LotusError])
def test_an_error_comes_as_what_it_was(kind: type[LotusError]) -> None:
    message = decode(encode(Trouble(kind("because"), [{"idempotency_id": "1"}])))
    assert isinstance(message, Trouble)
    assert (type(message.error), str(message.error), message.events) == (kind, "because", [{"idempotency_id": "1"}])


@pytest.mark.parametrize("name", ["InventedLater", "TYPE_CHECKING", InvalidEvent.__name__])
def test_an_error_that_cannot_be_made_again_is_a_lotus_error(name: str) -> None:
    line = json.dumps({"kind": "error", "name": name, "text": "because", "events": []})
    message = decode(line.encode())
    assert isinstance(message, Trouble)
    assert (type(message.error), str(message.error)) == (LotusError, "because")


@pytest.mark.parametrize("line", [b"Traceback (most recent call last):", b"", b"[1]", b"3", b"{}", b'{"kind": "x"}'])
def test_what_is_no_message_is_text(line: bytes) -> None:
    assert decode(line + b"\n") == line.decode()
