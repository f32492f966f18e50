"""The pages about operations and upgrades: files, variables, and what is gone, are those of the code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.cli import entry
from lotus_durable.cli.command import WrongUsage
from lotus_durable.config import Config, Constants
from lotus_durable.errors import ConfigurationError
from lotus_durable.flusher.spawn import _NOT_INHERITED
from lotus_durable.flusher.surroundings import NETWORK_VARIABLES
from lotus_durable.queue.directory import QueueDirectory
from tests.test_docs import OPERATIONS, UPGRADING, removed_things


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
    table = UPGRADING.partition("## What no longer needs doing")[2].partition("\n## ")[0]
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
def test_a_command_that_the_page_says_is_gone_is_refused(words: str) -> None:
    assert any(each.endswith(words.removeprefix("flusher ")) for each in removed_things())
    with pytest.raises(WrongUsage, match="--help"):
        entry.parser().parse_args(words.split())
