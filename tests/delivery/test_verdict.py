"""Every row of both tables of what the servers answer: case by case, and by status, content type and body."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from lotus_durable.delivery.outcome import (
    Blocked,
    Dead,
    Delivered,
    Failing,
    Parked,
    Retry,
    RetryBatch,
    Settled,
    Split,
    Verdict,
)
from lotus_durable.delivery.verdict import outcome_of, outcome_of_probe
from lotus_durable.http.answer import Answer, NoAnswer

from .answers import (
    BAD_REQUEST,
    DUPLICATE,
    DUPLICATE_IN_REQUEST,
    IDS,
    INVALID_JSON,
    KAFKA,
    NOW,
    REQUEST_TOO_LARGE,
    TOO_FAR,
    answer,
    html,
    outcome,
    raw,
    refusal,
    verdicts,
)

# -- the first table: what L22 and L24 answer, case by case --

ALL = [Delivered()] * 3


@pytest.mark.parametrize(
    ("came_back", "expected"),
    [
        pytest.param(answer(201, {"success": "all"}), ALL, id="all accepted, L22"),
        pytest.param(answer(201, {"success": "all", "failed_events": None}), ALL, id="all accepted, L24"),
        pytest.param(
            refusal(201, "some", b="Customer does not exist"),
            [Delivered(), Parked("Customer does not exist"), Delivered()],
            id="some refused",
        ),
        pytest.param(
            refusal(400, "none", a=DUPLICATE, b="Customer does not exist", c="Invalid time_created"),
            [Delivered(), Parked("Customer does not exist"), Dead("Invalid time_created")],
            id="all refused",
        ),
        pytest.param(
            refusal(201, "some", a=DUPLICATE),
            [Delivered(), Delivered(), Delivered()],
            id="already known id, L22",
        ),
        pytest.param(
            refusal(201, "some", b=DUPLICATE_IN_REQUEST),
            [Delivered(), Delivered(), Delivered()],
            id="same id twice in a batch, L22",
        ),
        pytest.param(
            refusal(201, "some", c="No customer_id provided"),
            [Delivered(), Delivered(), Dead("No customer_id provided")],
            id="empty customer_id, L24",
        ),
        pytest.param(
            refusal(201, "some", c="Invalid time_created"),
            [Delivered(), Delivered(), Dead("Invalid time_created")],
            id="missing or zero time, L24",
        ),
        pytest.param(
            refusal(201, "some", c=KAFKA), [Delivered(), Delivered(), Retry(KAFKA)], id="broker trouble, 201 some"
        ),
        pytest.param(
            refusal(400, "none", a=KAFKA, b=KAFKA, c=KAFKA), [Retry(KAFKA)] * 3, id="broker trouble, 400 none"
        ),
    ],
)
def test_a_report_on_a_batch_gives_each_event_its_verdict(came_back: Answer, expected: list[Verdict]) -> None:
    assert verdicts(came_back) == expected


def test_an_event_without_an_id_is_looked_for_by_halves_and_is_dead() -> None:
    refused = refusal(201, "some", no_idempotency_id="No idempotency_id provided")
    assert isinstance(outcome(refused), Split)
    assert verdicts(refused, ["a"]) == [Dead("No idempotency_id provided")]


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(days=30, seconds=1), Dead(TOO_FAR)),
        (timedelta(days=4_000), Dead(TOO_FAR)),
        (timedelta(days=-1, seconds=-1), Parked(TOO_FAR, is_ahead=True)),
        (timedelta(days=-4_000), Parked(TOO_FAR, is_ahead=True)),
    ],
    ids=["in the past", "far in the past", "ahead", "far ahead"],
)
def test_an_event_in_the_past_is_dead_and_one_ahead_of_time_is_parked(age: timedelta, expected: Verdict) -> None:
    assert verdicts(refusal(400, "none", a=TOO_FAR), ["a"], age=age) == [expected]


def test_a_fresh_event_of_a_host_whose_clock_is_ahead_is_parked() -> None:
    assert verdicts(refusal(400, "none", a=TOO_FAR), ["a"], age=timedelta(seconds=3)) == [
        Parked(TOO_FAR, is_ahead=True)
    ]


@pytest.mark.parametrize(
    ("time_created", "expected"),
    [
        ("2023-12-31T23:59:59.123456Z", Dead(TOO_FAR)),
        ("2023-12-31T23:59:59+05:30", Dead(TOO_FAR)),
        ("2023-12-31T23:59:59", Dead(TOO_FAR)),
        ("0001-01-01T00:00:00+23:59", Dead(TOO_FAR)),
        ("9999-12-31T23:59:59-23:59", Parked(TOO_FAR, is_ahead=True)),
        ("yesterday", Parked(TOO_FAR)),
        ("", Parked(TOO_FAR)),
    ],
)
def test_a_time_that_cannot_be_read_is_no_reason_to_give_an_event_up(time_created: str, expected: Verdict) -> None:
    settled = outcome_of(refusal(400, "none", a=TOO_FAR), ["a"], [time_created], now=NOW.timestamp())
    assert settled == Settled((expected,))


# -- the second table: status, content type and body --


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (DUPLICATE, Delivered()),
        (DUPLICATE_IN_REQUEST, Delivered()),
        ("Customer does not exist", Parked("Customer does not exist")),
        (KAFKA, Retry(KAFKA)),
        (f"{KAFKA}: MESSAGE_TOO_LARGE", Dead(f"{KAFKA}: MESSAGE_TOO_LARGE")),
        ("No customer_id provided", Dead("No customer_id provided")),
        ("Invalid time_created", Dead("Invalid time_created")),
        ("No idempotency_id provided", Dead("No idempotency_id provided")),
        ("Plan limit reached", Parked("Plan limit reached", unlisted=True)),
        ("", Parked("", unlisted=True)),
        (f"{DUPLICATE}?", Parked(f"{DUPLICATE}?", unlisted=True)),
        ("event idempotency already exists", Parked("event idempotency already exists", unlisted=True)),
    ],
)
@pytest.mark.parametrize("status", [201, 400])
def test_a_reason_gives_its_event_the_verdict_of_the_table(status: int, reason: str, expected: Verdict) -> None:
    assert verdicts(refusal(status, "some" if status == 201 else "none", a=reason), ["a"]) == [expected]


@pytest.mark.parametrize(
    ("came_back", "alone"),
    [
        pytest.param(answer(400, INVALID_JSON), Settled, id="400 none, Invalid JSON"),
        pytest.param(html(413, REQUEST_TOO_LARGE), Blocked, id="413 of nginx, HTML"),
        pytest.param(answer(413, {"message": "too large"}), Blocked, id="413, JSON"),
        pytest.param(html(400, BAD_REQUEST), Blocked, id="400 text/html Bad Request"),
    ],
)
def test_a_batch_refused_as_a_whole_is_split_and_no_single_event_is_given_up_for_it_at_once(
    came_back: Answer, alone: type
) -> None:
    assert isinstance(outcome(came_back), Split)
    assert isinstance(outcome(came_back, ["a", "b"]), Split)
    assert isinstance(outcome(came_back, ["a"]), alone)
    if alone is Settled:
        assert verdicts(came_back, ["a"]) == [Failing("Invalid JSON")]
    assert isinstance(outcome_of_probe(came_back), Blocked)


@pytest.mark.parametrize(
    "came_back",
    [
        pytest.param(answer(401, {"title": "not_authenticated"}), id="401"),
        pytest.param(answer(403, {"detail": "Authentication credentials were not provided."}), id="403 no key, L22"),
        pytest.param(answer(400, {"message": "No API key found in request"}), id="400 no key, L24"),
        pytest.param(answer(400, {"message": "Invalid API key"}), id="400 wrong or revoked key, L24"),
        pytest.param(answer(400, {"message": "Key suspended"}), id="400 message"),
        pytest.param(answer(400, {}), id="400 expired key, L24"),
        pytest.param(html(400, "No API key found in request"), id="400 text/html no key, between the two"),
        pytest.param(html(400, "Invalid API key"), id="400 text/html wrong key, between the two"),
        pytest.param(html(400, "Invalid API key", "text/plain"), id="400 text/plain wrong key"),
        pytest.param(answer(400, "Invalid API key"), id="400 a JSON string about the key"),
    ],
)
def test_a_bad_key_blocks_and_says_so(came_back: Answer) -> None:
    for ids in (["a"], IDS):
        blocked = outcome(came_back, ids)
        assert isinstance(blocked, Blocked)
        assert "refuses the API key" in blocked.reason
        assert f"HTTP {came_back.status}" in blocked.reason
    assert isinstance(outcome_of_probe(came_back), Blocked)


@pytest.mark.parametrize("status", [401, 403])
def test_a_firewalls_403_is_not_called_a_wrong_key(status: int) -> None:
    blocked = outcome(html(status, "<h1>Request blocked</h1>"))
    assert isinstance(blocked, Blocked)
    assert not blocked.by_key
    assert "refuses the API key" not in blocked.reason
    assert f"HTTP {status}: Request blocked; check any firewall" in blocked.reason


@pytest.mark.parametrize(
    "came_back",
    [
        *(pytest.param(html(status, ""), id=str(status)) for status in (300, 301, 302, 304, 307, 308, 399)),
        pytest.param(html(404, "<h1>Not Found</h1>"), id="404 HTML, L22"),
        pytest.param(answer(404, {"message": "Not Found"}), id="404 JSON, L24"),
        pytest.param(answer(405, {"detail": 'Method "POST" not allowed.'}), id="405"),
        pytest.param(answer(415, {"detail": "Unsupported media type"}), id="415"),
        pytest.param(html(200, "<html>Please log in to the hotel network</html>"), id="200 of a proxy"),
        pytest.param(answer(200, {"success": "all"}), id="200 with the right JSON"),
        pytest.param(html(201, '{"success": "all"}'), id="201 not JSON by its content type"),
        pytest.param(raw(201, b""), id="201 empty"),
        pytest.param(raw(201, b'{"success": "all"'), id="201 cut off"),
        pytest.param(raw(201, b'{"success": "all"} extra'), id="201 with something behind it"),
        pytest.param(raw(201, b"\xef\xbb\xbf" + b'{"success": "all"}'), id="201 with a BOM"),
        pytest.param(raw(201, '{"success": "all"}'.encode("utf-16")), id="201 not UTF-8"),
        pytest.param(raw(201, b'{"success": "all", "x": NaN}'), id="201 with NaN"),
        pytest.param(raw(201, b'{"success": "some", "success": "all"}'), id="201 a key twice"),
        pytest.param(
            Answer(
                201,
                "application/json",
                b'{"success": "some", "failed_events": {"a": "x", "a": "%s"}}' % DUPLICATE.encode(),
            ),
            id="201 an id twice",
        ),
        pytest.param(raw(201, b"[" * 100_000), id="201 nested without end"),
        pytest.param(raw(201, b'{"success": ' + b"9" * 10_000 + b"}"), id="201 endless number"),
        pytest.param(answer(201, {}), id="201 no success"),
        pytest.param(answer(201, []), id="201 a list"),
        pytest.param(answer(201, None), id="201 null"),
        pytest.param(answer(201, {"success": True}), id="201 success true"),
        pytest.param(answer(201, {"success": "yes"}), id="201 success yes"),
        pytest.param(answer(201, {"success": ["all"]}), id="201 success a list"),
        pytest.param(answer(201, {"success": "all", "failed_events": []}), id="201 failed_events a list"),
        pytest.param(answer(201, {"success": "all", "failed_events": ""}), id="201 failed_events a text"),
        pytest.param(answer(201, {"success": "some", "failed_events": {"a": None}}), id="201 a reason of null"),
        pytest.param(answer(201, {"success": "some", "failed_events": {"a": {"why": 1}}}), id="201 a reason in parts"),
    ],
)
def test_an_answer_that_is_not_of_lotus_blocks_and_says_so(came_back: Answer) -> None:
    for ids in (["a"], IDS):
        blocked = outcome(came_back, ids)
        assert isinstance(blocked, Blocked)
        assert "not an answer of Lotus" in blocked.reason
        assert f"HTTP {came_back.status}" in blocked.reason
    assert isinstance(outcome_of_probe(came_back), Blocked)


def test_a_port_that_takes_only_https_is_told_as_that() -> None:
    found = outcome(html(400, "<h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port"))
    assert isinstance(found, Blocked)
    assert "check that its URL begins with https://" in found.reason


@pytest.mark.parametrize("failed", [{}, None])
def test_a_batch_refused_without_a_reason_blocks(failed: object) -> None:
    blocked = outcome(answer(400, {"success": "none", "failed_events": failed}))
    assert isinstance(blocked, Blocked)
    assert "no reason" in blocked.reason


@pytest.mark.parametrize("status", [408, 429, 460, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530])
@pytest.mark.parametrize("ids", [["a"], IDS], ids=["one", "three"])
def test_an_outage_is_retried_with_the_same_ids(status: int, ids: Sequence[str]) -> None:
    retry = outcome(Answer(status, "text/html", b"<h1>try later</h1>", retry_after=7.0), ids)
    assert retry == RetryBatch(f"HTTP {status}: try later", retry_after=7.0, after_timeout=status in (504, 524))


@pytest.mark.parametrize("ids", [["a"], IDS], ids=["one", "three"])
@pytest.mark.parametrize(
    "came_back",
    [
        pytest.param(html(500, "<h1>Server Error (500)</h1>"), id="database down or a bad event, L22"),
        pytest.param(answer(500, {"message": "Error fetching organization ID from cache"}), id="cache down, L24"),
        pytest.param(answer(500, {"success": "all"}), id="success is no success with a 500"),
    ],
)
def test_a_500_is_retried_and_suspect(came_back: Answer, ids: Sequence[str]) -> None:
    retry = outcome(came_back, ids)
    assert isinstance(retry, RetryBatch)
    assert (retry.suspect, retry.after_timeout) == (True, False)


@pytest.mark.parametrize(
    ("no_answer", "after_timeout"),
    [
        pytest.param(NoAnswer("connection refused"), False, id="connection error"),
        pytest.param(NoAnswer("closed", sent=True), False, id="closed before answering"),
        pytest.param(NoAnswer("no connection", timed_out=True), False, id="timeout while connecting"),
        pytest.param(NoAnswer("silence", timed_out=True, sent=True), True, id="timeout while waiting"),
    ],
)
def test_no_answer_is_retried_and_after_a_timeout_the_server_gets_time(
    no_answer: NoAnswer, after_timeout: bool
) -> None:
    assert outcome(no_answer) == RetryBatch(no_answer.reason, after_timeout=after_timeout)
    assert outcome_of_probe(no_answer) == RetryBatch(no_answer.reason, after_timeout=after_timeout)


@pytest.mark.parametrize(
    "came_back",
    [
        *(pytest.param(html(status, "?"), id=str(status)) for status in (100, 202, 204, 402, 407, 409, 418, 422)),
        *(pytest.param(html(status, "?"), id=str(status)) for status in (501, 505, 507, 529, 599, 999)),
        pytest.param(html(400, "<h1>Something else</h1>"), id="400 unknown HTML"),
        pytest.param(html(400, "Bad Request", "text/plain"), id="400 Bad Request not in HTML"),
        pytest.param(answer(400, {"detail": "JSON parse error"}), id="400 unknown JSON"),
        pytest.param(answer(400, ["a"]), id="400 a list"),
        pytest.param(Answer(400, "", b""), id="400 nothing"),
        pytest.param(raw(400, b"\xff\xfe"), id="400 not UTF-8"),
        pytest.param(answer(400, {"success": "all", "failed_events": {}}), id="400 all"),
        pytest.param(answer(400, {"success": "some"}), id="400 some, none named"),
        pytest.param(answer(400, {"success": "none", "failed_events": ["a"]}), id="400 failed_events a list"),
    ],
)
def test_an_answer_that_is_not_listed_blocks_and_says_so(came_back: Answer) -> None:
    for ids in (["a"], IDS):
        blocked = outcome(came_back, ids)
        assert isinstance(blocked, Blocked)
        assert blocked.reason.startswith("an answer we do not know (HTTP ")
