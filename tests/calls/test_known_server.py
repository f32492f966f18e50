"""What is remembered of a server, for how long, and which answers contradict it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from lotus_durable.calls.generation import KnownServer, contradicts, is_2022, is_2024
from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.queue.directory import QueueDirectory

DAY = 86_400.0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"HOST": "2024"}',
        b'{"HOST": {"generation": "2023", "found_at": 1e9}}',
        b'{"HOST": {"generation": "2024"}}',
        b'{"HOST": {"generation": "2024", "found_at": "long ago"}}',
        b'{"HOST": {"generation": "2024", "found_at": NaN}}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_says_nothing_usable_is_written_anew(content: bytes, tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    directory.servers.write_bytes(content)
    known = KnownServer("HOST", directory)
    assert known.generation() is None
    known.learn("2022")
    assert KnownServer("HOST", directory).generation() == "2022"


def test_hosts_are_remembered_beside_each_other_but_not_without_end(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    for number in range(50):
        KnownServer(f"https://{number}.example", directory).learn("2022")
    KnownServer("https://49.example", directory).learn("2024")
    assert KnownServer("https://49.example", directory).generation() == "2024"
    assert KnownServer("https://48.example", directory).generation() == "2022"
    assert KnownServer("https://0.example", directory).generation() is None
    assert len(json.loads(directory.servers.read_text())) <= 21


@pytest.mark.parametrize(("age", "expected"), [(0, "2024"), (DAY - 1, "2024"), (DAY + 1, None), (-1, None)])
def test_a_finding_holds_for_a_day_in_memory_and_on_disk(age: float, expected: str | None, tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    now = [time.time()]
    known = KnownServer("HOST", directory, now=lambda: now[0])
    known.learn("2024")
    assert known.is_fresh()
    now[0] += age
    assert known.generation() == expected
    assert KnownServer("HOST", directory, now=lambda: now[0]).generation() == expected


def test_a_disk_that_refuses_only_costs_the_next_process_two_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lotus_durable.calls.generation.write_atomically", refuses)
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    known = KnownServer("HOST", directory)
    known.learn("2024")
    assert known.generation() == "2024"
    assert KnownServer("HOST", directory).generation() is None


# -- what tells --


def says_json(status: int, value: object) -> Answer:
    return Answer(status, "application/json", json.dumps(value).encode())


PROBLEM = {"type": "https://docs.example#client-error", "detail": "no", "title": "no"}
PAGE = Answer(404, "text/html", b"<h1>Not Found</h1>")


def test_no_answer_tells_nothing() -> None:
    nothing = NoAnswer("silence", timed_out=True, sent=True)
    assert not is_2024(nothing)
    assert not is_2022(nothing)
    assert not contradicts("2022", nothing)


@pytest.mark.parametrize(
    ("answer", "of_2022", "of_2024"),
    [
        (says_json(200, []), False, False),
        (says_json(400, {"name": ["required"]}), False, True),
        (says_json(409, {"detail": "exists"}), False, True),
        (says_json(403, {"detail": "no key"}), False, True),
        (says_json(400, PROBLEM), True, False),
        (says_json(401, PROBLEM), True, False),
        (says_json(404, PROBLEM), False, False),
        (says_json(404, {"detail": "Not found."}), False, False),
        (says_json(400, {"message": "Invalid API key"}), False, False),
        (says_json(400, {}), False, False),
        (says_json(500, {"detail": "?"}), False, False),
        (Answer(400, "text/plain", b"Invalid API key"), False, False),
        (PAGE, True, True),
        (says_json(405, {"detail": "?"}), True, True),
    ],
)
def test_an_answer_in_the_other_form_contradicts(answer: Answer, of_2022: bool, of_2024: bool) -> None:
    assert (contradicts("2022", answer), contradicts("2024", answer)) == (of_2022, of_2024)
