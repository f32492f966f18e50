"""What starter and child tell each other: lines of JSON.

The two may be of different versions, where a package is replaced under a running worker. So what one does not know it
leaves out, and what it misses has a default.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lotus_durable import errors
from lotus_durable.config import Config
from lotus_durable.errors import LotusError

_NOT_TOLD = ("on_error", "flusher", "debug", "api_key_file")
"""Options that are the starter's own: it tells its ``on_error`` and its log what the child reports."""

BOOT = """\
import json, sys
start = json.loads(sys.stdin.buffer.readline())
sys.path[:] = start["path"]
from lotus_durable.flusher.program import main
main(start)
"""
"""What the interpreter is given to run. Later versions too must understand it: see above."""


def start_message(config: Config, log_level: int) -> bytes:
    """Return the line that tells a child all it is to know; the API key is in it."""
    told = {option.name: getattr(config, option.name) for option in fields(config) if option.name not in _NOT_TOLD}
    path = [os.path.abspath(each) for each in sys.path]
    start = {"config": {**told, "queue_dir": str(config.queue_dir)}, "log_level": log_level, "path": path}
    return json.dumps(start).encode() + b"\n"


def configuration_of(start: Mapping[str, Any]) -> Config:
    """Return the configuration in a start message."""
    known = {option.name for option in fields(Config)}
    told = {name: value for name, value in start["config"].items() if name in known and name not in _NOT_TOLD}
    return Config(**{**told, "queue_dir": Path(told["queue_dir"]), "timeout": tuple(told["timeout"])})


@dataclass(frozen=True, slots=True)
class Ready:
    """The child leads."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The child may not lead, and ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """Something for the log."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something for ``on_error``."""

    error: LotusError
    events: Sequence[dict[str, Any]]


Message = Ready | Refused | LogLine | Trouble


def encode(message: Message) -> bytes:
    """Return a message as a line."""
    if isinstance(message, Ready):
        told: dict[str, Any] = {"kind": "ready"}
    elif isinstance(message, Refused):
        told = {"kind": "refused", "reason": message.reason}
    elif isinstance(message, LogLine):
        told = {"kind": "log", "level": message.level, "text": message.text}
    else:
        name = type(message.error).__name__
        told = {"kind": "error", "name": name, "text": str(message.error), "events": list(message.events)}
    return json.dumps(told).encode() + b"\n"


def decode(line: bytes) -> Message | str:
    """Return a message, or what else the child wrote: a traceback of an interpreter that cannot start, say."""
    try:
        told = json.loads(line)
        if told["kind"] == "ready":
            return Ready()
        if told["kind"] == "refused":
            return Refused(str(told["reason"]))
        if told["kind"] == "log":
            return LogLine(int(told["level"]), str(told["text"]))
        return Trouble(_error(told["name"], told["text"]), told["events"])
    except (ValueError, TypeError, KeyError):
        return line.decode(errors="replace").rstrip()


def _error(name: str, text: str) -> LotusError:
    kind = getattr(errors, name, None)
    # What the leader reports is made of its message alone.
    if isinstance(kind, type) and issubclass(kind, LotusError) and kind.__init__ is Exception.__init__:
        return kind(text)
    return LotusError(text)
