"""``contrib.django.track_on_commit`` in a project: what is rolled back is not billed. One run of all scenarios."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.testing import FakeLotus
from tests.scripts import environment

PROJECT = Path(__file__).parent / "django_project.py"


class Run:
    """What the scenarios said, and what the server has in the end."""

    def __init__(self, said: dict[str, Any], server: FakeLotus, log: str) -> None:
        self.said = said
        self.log = log
        self.events = [event for event in server.events if event["idempotency_id"] in server.database]
        names = defaultdict(list)
        for event in self.events:
            names[event["customer_id"]].append(event["event_name"])
        self.names = dict(names)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("django")
    with FakeLotus("L24") as server:
        command = [sys.executable, str(PROJECT), server.host, str(folder / "queue")]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=100, check=False, env=environment(), cwd=folder
        )
        assert result.returncode == 0, result.stderr
        yield Run(json.loads(result.stdout), server, (folder / "log").read_text())


def test_an_event_is_written_when_its_transaction_commits_and_not_before(run: Run) -> None:
    said = run.said["commit"]
    assert (said["inside"], said["after"]) == (0, 1)
    assert run.names["commit"] == ["kept"]


def test_it_is_what_it_was_at_the_call_with_the_id_that_the_call_returned(run: Run) -> None:
    [event] = [event for event in run.events if event["customer_id"] == "commit"]
    assert (event["idempotency_id"], event["properties"]) == (run.said["commit"]["id"], {"amount": 1})


def test_without_a_transaction_it_is_written_at_once(run: Run) -> None:
    assert run.said["autocommit"] == 1
    assert run.names["autocommit"] == ["kept"]


def test_a_rollback_drops_it_and_what_comes_after_is_kept(run: Run) -> None:
    assert run.names["rollback"] == ["after it"]


def test_the_rollback_of_a_savepoint_drops_what_was_tracked_in_it_and_in_savepoints_of_it(run: Run) -> None:
    assert run.names["savepoints"] == ["outer", "after it", "released"]


def test_the_rollback_of_the_outermost_transaction_drops_what_was_tracked_in_a_released_savepoint(run: Run) -> None:
    assert "released_and_rolled_back" not in run.names


def test_using_names_the_database_whose_commit_decides(run: Run) -> None:
    assert run.said["another_database"] == {"of other": 1, "of both": 2}
    assert run.names["another_database"] == ["of the other", "of the default"]


def test_an_invalid_event_is_refused_at_the_call_and_not_at_the_commit(run: Run) -> None:
    assert run.said["refused"] == "properties.amount: is not a finite number, which JSON cannot express"


def test_what_fails_after_the_commit_is_told_and_fails_neither_the_code_nor_the_callbacks_after_it(run: Run) -> None:
    assert run.said["told"] == {"errors": [["QueueFull", ["told"]]], "callbacks": ["the next"]}
    assert "an event of a committed transaction is not accepted: the queue is full" in run.log


def test_a_callback_before_it_that_is_not_robust_and_raises_keeps_django_from_calling_it(run: Run) -> None:
    """The page says so."""
    assert run.said["skipped"] == ["raised after the commit"]
    assert "skipped" not in run.names


def test_with_autocommit_off_it_is_refused_because_django_would_forget_it(run: Run) -> None:
    assert len(run.said["autocommit_off"]) == 2
    assert all("with autocommit off" in line for line in run.said["autocommit_off"])


@pytest.mark.parametrize(
    ("view", "status", "names"),
    [
        ("good", 200, ["kept"]),
        ("raises", 500, []),
        ("answers_500", 500, ["kept"]),
        ("marked", 500, []),
    ],
)
def test_with_atomic_requests_what_the_view_raises_decides_and_not_its_status(
    run: Run, view: str, status: int, names: list[str]
) -> None:
    assert run.said["requests"][view][0] == status
    assert run.names.get(view, []) == names


def test_what_was_tracked_before_a_stream_is_written_before_its_first_chunk_and_in_it_at_once(run: Run) -> None:
    assert run.said["requests"]["streams"] == [200, "1 2"]
    assert run.names["streams"] == ["before the stream", "in the stream"]


def test_an_async_view_tracks_by_itself_and_its_transactions_decide_in_their_thread(run: Run) -> None:
    assert run.said["asgi"] == 200
    assert run.names["in_async"] == ["kept", "by the view itself"] * 2


def test_in_a_testcase_it_is_written_only_where_callbacks_are_captured_and_executed(run: Run) -> None:
    assert run.said["users_tests"] == {"run": 3, "failed": []}
    assert run.names["test_with_capture"] == ["kept"]
    assert "test_without_capture" not in run.names


def test_override_settings_takes_effect_and_ends(run: Run) -> None:
    assert run.names["test_overridden"] == ["written"]
