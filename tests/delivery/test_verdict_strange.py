"""Answers that contradict themselves, answers to the empty probe, and what no answer at all may ever lead to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lotus_durable.delivery.outcome import Blocked, Delivered, Parked, Retry, RetryBatch, Settled, Split
from lotus_durable.delivery.verdict import outcome_of_probe
from lotus_durable.http.answer import Answer

from .answers import (
    BAD_REQUEST,
    DUPLICATE,
    DUPLICATE_IN_REQUEST,
    IDS,
    INVALID_JSON,
    KAFKA,
    REQUEST_TOO_LARGE,
    TOO_FAR,
    answer,
    html,
    outcome,
    raw,
    refusal,
    verdicts,
)

# -- reports that contradict themselves --


def test_success_all_does_not_overrule_the_reason_of_an_event() -> None:
    assert verdicts(refusal(201, "all", a=KAFKA)) == [Retry(KAFKA), Delivered(), Delivered()]


@pytest.mark.parametrize("status", [201, 400])
def test_a_refusal_that_names_only_some_events_delivers_none_of_the_others(status: int) -> None:
    first, second, third = verdicts(refusal(status, "none", a=DUPLICATE))
    assert first == Delivered()
    assert isinstance(second, Retry)
    assert second == third


def test_a_201_that_accepts_none_and_names_none_blocks() -> None:
    assert isinstance(outcome(answer(201, {"success": "none"})), Blocked)


@pytest.mark.parametrize("failed", [{}, None])
def test_some_refused_and_none_named_is_found_by_halves_and_the_last_one_is_parked(failed: object) -> None:
    came_back = answer(201, {"success": "some", "failed_events": failed})
    assert isinstance(outcome(came_back), Split)
    (verdict,) = verdicts(came_back, ["a"])
    assert isinstance(verdict, Parked)
    assert verdict.unlisted


@pytest.mark.parametrize("status", [201, 400])
@pytest.mark.parametrize("reason", [DUPLICATE, DUPLICATE_IN_REQUEST, "Plan limit reached"])
def test_a_reason_under_an_id_that_was_not_sent_delivers_nothing(status: int, reason: str) -> None:
    came_back = refusal(status, "some", a=DUPLICATE, A=reason)
    assert isinstance(outcome(came_back), Split)
    assert verdicts(refusal(status, "some", A=reason), ["a"]) == [Parked(reason, unlisted=True)]


def test_an_id_that_looks_like_the_servers_own_key_is_an_id() -> None:
    came_back = refusal(201, "some", no_idempotency_id="Customer does not exist")
    ids = ["a", "no_idempotency_id"]
    assert verdicts(came_back, ids) == [Delivered(), Parked("Customer does not exist")]


# -- the empty probe --


@pytest.mark.parametrize(
    "came_back",
    [
        pytest.param(answer(400, {"success": "none", "failed_events": {}}), id="as both servers answer"),
        pytest.param(answer(400, {"success": "none"}), id="failed_events left out"),
        pytest.param(answer(201, {"success": "all", "failed_events": None}), id="a server that accepts it"),
    ],
)
def test_the_right_answer_to_an_empty_batch_says_that_all_works(came_back: Answer) -> None:
    assert outcome_of_probe(came_back) == Settled(())


@pytest.mark.parametrize("came_back", [html(413, REQUEST_TOO_LARGE), html(400, BAD_REQUEST), answer(400, INVALID_JSON)])
def test_a_server_that_refuses_even_an_empty_batch_unread_is_blocked(came_back: Answer) -> None:
    blocked = outcome_of_probe(came_back)
    assert isinstance(blocked, Blocked)
    assert "even an empty batch" in blocked.reason


@pytest.mark.parametrize("came_back", [refusal(400, "none", x="Customer does not exist"), html(418, "?")])
def test_a_strange_answer_to_an_empty_batch_is_no_success(came_back: Answer) -> None:
    probed = outcome_of_probe(came_back)
    assert isinstance(probed, Blocked)


# -- words --


def test_a_reason_is_one_printable_line_cut_short() -> None:
    body = "<html>\x1b[31mred\x00\r\n\u202e" + "long " * 1_000 + "</html>"
    blocked = outcome(html(404, body))
    assert isinstance(blocked, Blocked)
    assert blocked.reason.isprintable()
    assert len(blocked.reason) < 320
    assert "red long long" in blocked.reason


def test_a_servers_reason_is_one_printable_line_cut_short() -> None:
    (verdict,) = verdicts(refusal(201, "some", a="\x1b]0;title\x07" + "x" * 100_000), ["a"])
    assert isinstance(verdict, Parked)
    assert verdict.reason.isprintable()
    assert len(verdict.reason) == 200


# -- whatever comes back --

known_reasons = st.sampled_from(
    [DUPLICATE, DUPLICATE_IN_REQUEST, "Customer does not exist", KAFKA, TOO_FAR, "Invalid JSON"]
)
reports = st.fixed_dictionaries(
    {},
    optional={
        "success": st.sampled_from(["all", "some", "none", "ALL", "", None, 1, True]),
        "failed_events": st.none()
        | st.dictionaries(st.sampled_from([*IDS, "A", "no_idempotency_id"]), known_reasons | st.text() | st.none())
        | st.lists(st.text(), max_size=2),
        "message": st.text(),
    },
)
bodies = st.binary(max_size=200) | st.builds(
    lambda value: json.dumps(value).encode(), reports | st.text() | st.lists(reports)
)
statuses = st.sampled_from([200, 201, 400, 403, 404, 413, 429, 500, 503]) | st.integers(-1, 1_000)
content_types = st.sampled_from(["application/json", "application/json; charset=utf-8", "text/html"]) | st.text()
batches = st.lists(st.sampled_from([*IDS, "no_idempotency_id"]), unique=True, max_size=4)


def strictly_accepted(came_back: Answer, ids: Sequence[str]) -> set[str]:
    """Say once more, independently, which ids an answer proves to be on the server."""
    if came_back.content_type.partition(";")[0].strip().lower() != "application/json":
        return set()
    try:
        report = json.loads(came_back.body.decode("utf-8"))
        assert isinstance(report, dict)
        failed = report.get("failed_events") or {}
        proven = {key for key in ids if failed.get(key, "").endswith(("already exists", "idempotency in request"))}
        unnamed = {key for key in ids if key not in failed}
    except (ValueError, AssertionError, AttributeError, RecursionError):
        return set()
    accepting = came_back.status == 201 and report.get("success") in ("all", "some")
    return proven | unnamed if accepting else proven


@given(
    came_back=st.builds(Answer, statuses, content_types, bodies, st.none() | st.floats(0, 3_600)),
    ids=batches,
    age=st.integers(-100, 100),
)
@example(raw(201, b'{"success": "all"}'), ["a"], 0)
@example(raw(400, b'{"success": "none"}'), [], 0)
def test_no_answer_raises_or_delivers_what_it_does_not_prove(came_back: Answer, ids: list[str], age: int) -> None:
    found = outcome(came_back, ids, age=timedelta(days=age))
    if isinstance(found, Split):
        assert len(ids) != 1
        return
    if not isinstance(found, Settled):
        assert found.reason.isprintable()
        return
    assert came_back.status in (201, 400, 413)
    assert len(found.verdicts) == len(ids)
    delivered = {key for key, verdict in zip(ids, found.verdicts, strict=True) if isinstance(verdict, Delivered)}
    assert delivered <= strictly_accepted(came_back, ids)


@given(came_back=st.builds(Answer, statuses, content_types, bodies))
def test_no_answer_to_a_probe_raises_or_asks_for_halves(came_back: Answer) -> None:
    assert isinstance(outcome_of_probe(came_back), Settled | RetryBatch | Blocked)
