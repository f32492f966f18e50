"""The page about operations: files, variables, log lines, and what is gone, are those of the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.cli import entry
from lotus_durable.config import Config, Constants
from lotus_durable.errors import ConfigurationError
from lotus_durable.flusher.spawn import _NOT_INHERITED
from lotus_durable.flusher.surroundings import NETWORK_VARIABLES
from lotus_durable.queue.directory import QueueDirectory
from tests.test_docs import OPERATIONS, ROOT, removed_things


def test_the_files_of_the_queue_directory_are_on_the_page(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path)
    table = OPERATIONS.partition("## The queue directory")[2].partition("##")[0]
    paths = (
        directory.identity, directory.books, directory.queue_db, directory.flusher_lock, directory.starting,
        directory.requests, directory.heartbeat, directory.log,
    )  # fmt: skip
    for path in paths:
        assert f"`{Path(path).name}`" in table
    for path in (directory.journal, directory.quarantine):
        assert f"`{Path(path).name}/" in table


def test_the_environment_of_a_flusher_is_on_the_page() -> None:
    life = OPERATIONS.partition("## The flusher's life")[2].partition("## Running")[0]
    for name in (*_NOT_INHERITED, *(name for name in NETWORK_VARIABLES if name.isupper())):
        assert f"`{name}`" in life


# What was removed


HOOKS = (
    "lotus_durable.contrib.gunicorn", "post_fork", "worker_exit", "on_exit", "lotus_durable.contrib.celery",
    "worker_process_shutdown", "@postfork", "enable-threads", "lazy-apps", "uwsgi.atexit", "drain()",
    "ProcessPoolExecutor", "lifespan", "join()", "os.register_at_fork",
)  # fmt: skip
"""What users had written for earlier builds."""


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_that_did_something_has_a_line_that_says_what_to_do_now(hook: str) -> None:
    table = OPERATIONS.partition("## What no longer needs doing")[2].partition("\n## ")[0]
    [answer, *_] = [row.split(" | ")[1] for row in table.splitlines() if row.startswith("| ") and hook in row]
    assert answer.startswith("remove it")


@pytest.mark.parametrize("name", ["gunicorn", "celery"])
def test_an_adapter_that_the_page_says_is_gone_is_gone(name: str) -> None:
    assert f"lotus_durable.contrib.{name}" in removed_things()
    assert find_spec(f"lotus_durable.contrib.{name}") is None


@pytest.mark.parametrize(
    "name",
    [
        "max_batch_bytes",
        "segment_bytes",
        "parked_max_age",
        "parked_retry_interval",
        "probe_interval",
        "max_event_attempts",
    ],
)
def test_an_option_that_the_page_says_is_a_constant_is_one(name: str) -> None:
    assert name in removed_things()
    assert not hasattr(Config, name)
    assert hasattr(Constants(), name)


@pytest.mark.parametrize("value", ["thread", "process"])
def test_a_choice_that_the_page_says_is_gone_is_refused(value: str, tmp_path: Path) -> None:
    assert f'flusher="{value}"' in removed_things()
    with pytest.raises(ConfigurationError, match="one of auto, external is needed"):
        Client(queue_dir=tmp_path, flusher=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words", ["flusher --once", "flusher --until-eof", "flusher --drain 30", "flusher --standby", "migrate"]
)
def test_a_command_that_the_page_says_is_gone_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert any(each.endswith(words.removeprefix("flusher ")) for each in removed_things())
    with pytest.raises(SystemExit):
        entry._parser().parse_args(words.split())
    assert "--help" in capsys.readouterr().err


# Log lines


def explained_lines() -> list[str]:
    section = OPERATIONS.partition("## Log lines")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`.*?) \| ", section, flags=re.MULTILINE)
    return [line for first in firsts for line in re.findall(r"`([^`]+)`", first) if " " in line]


@cache
def sentences() -> list[str]:
    """Return all texts of the package, with a mark where a value goes."""
    found: list[str] = []
    for path in (ROOT / "lotus_durable").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.replace("{}", "segment \0")  # what a writer says of its own, see queue/carry_over.py
                found.append(re.sub(r"%(?:\.\d+f|[sdr])|\{\w[^}]*\}", "\0", text))
            elif isinstance(node, ast.JoinedStr):
                parts = [each.value if isinstance(each, ast.Constant) else "\0" for each in node.values]
                found.append("".join(map(str, parts)))
    return found


def test_the_log_lines_that_the_page_explains_are_those_of_the_code() -> None:
    assert len(explained_lines()) > 50
    text = "\n".join(sentences())
    for line in explained_lines():
        pieces = [piece.strip(" …:;()") for piece in line.split("…")]
        for piece in pieces:
            assert len(piece) < 4 or piece in text, f"{line!r}: {piece!r} is in no message"


def test_the_warnings_of_a_process_that_tracks_are_explained() -> None:
    """Those that are made in one place each; what the server says, and the disk, has no end."""
    for module in ("flusher/look.py", "flusher/hung.py", "tracker.py", "client.py"):
        for node in ast.walk(ast.parse((ROOT / "lotus_durable" / module).read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in ("warning", "error") and isinstance(node.args[0], ast.Constant):
                message = str(node.args[0].value)
                pieces = [piece.strip(" …:;()") for piece in re.split(r"%(?:\.\d+f|[sdr])", message)]
                longest = max(pieces, key=len)
                assert not longest or longest in OPERATIONS, message
