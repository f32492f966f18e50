"""What is remembered of a server, and which answers contradict it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from lotus_durable.calls.generation import contradicts, is_2022, is_2024, known_generation, told_by
from lotus_durable.config import Config
from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory


def learned(directory: QueueDirectory, host: str, generation: str) -> None:
    with closing(Consumer(directory, lambda _: None)) as consumer:
        consumer.learn("host", host)
        consumer.learn("generation", generation)


@pytest.mark.parametrize(
    ("host", "generation", "expected"),
    [
        ("HOST", "2022", "2022"),
        ("HOST", "2024", "2024"),
        ("HOST", "", None),
        ("HOST", "2023", None),
        ("ANOTHER HOST", "2022", None),
    ],
)
def test_what_the_books_say_of_a_server_is_known(
    directory: QueueDirectory, host: str, generation: str, expected: str | None
) -> None:
    learned(directory, host, generation)
    assert known_generation(Config(directory.root, host="HOST")) == expected


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
def test_books_that_say_nothing_usable_are_as_none(directory: QueueDirectory, content: bytes) -> None:
    Path(directory.books).write_bytes(content)
    assert known_generation(Config(directory.root, host="HOST")) is None
    assert Path(directory.books).read_bytes() == content, "the books are the flusher's"


# -- what tells --


def says_json(status: int, value: object) -> Answer:
    return Answer(status, "application/json", json.dumps(value).encode())


PROBLEM = {"type": "https://docs.example#client-error", "detail": "no", "title": "no"}
PAGE = Answer(404, "text/html", b"<h1>Not Found</h1>")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "refusal",
    [
        {"detail": "Not authenticated"},
        {"message": "Forbidden", "detail": "no"},
        {"type": "about:blank", "title": "Unauthorized", "detail": "no"},
        {"type": "https://tools.ietf.org/html/rfc7235#section-3.1", "title": "Unauthorized", "status": 401},
        {"type": None, "title": "not_authenticated", "detail": "no"},
        ["no"],
    ],
)
def test_a_gateway_that_refuses_a_key_is_not_taken_for_the_server_of_2024(status: int, refusal: object) -> None:
    assert told_by(lambda _: says_json(status, refusal))[0] is None
    assert told_by(lambda _: says_json(status, PROBLEM))[0] == "2024"


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
