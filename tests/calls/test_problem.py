"""What each answer means: every form of error that either server has, and those that only a proxy can have written."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable import errors
from lotus_durable.calls.problem import problem
from lotus_durable.errors import (
    APIError,
    AuthenticationError,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    LotusError,
    NotFound,
    RateLimited,
    ServerError,
    Timeout,
    UnexpectedAnswer,
)
from lotus_durable.http.answer import Answer, NoAnswer

HTML = "text/html; charset=utf-8"
PAGE = b"<html><head><title>Oops</title></head><body><h1>Oops</h1></body></html>"


def says(status: int, value: object) -> Answer:
    return Answer(status, "application/json", json.dumps(value).encode())


def of_2024(status: int, title: str, detail: str, *errors: tuple[str, str, str | None]) -> Answer:
    kind = "validation-error" if errors else "client-error"
    value: dict[str, Any] = {"type": f"https://docs.example#{kind}", "detail": detail, "title": title}
    if errors:
        value["validation_errors"] = [{"code": code, "detail": text, "attr": attr} for code, text, attr in errors]
    return says(status, value)


REQUIRED = "This field is required."
UNKNOWN = "Object with customer_id=c9 does not exist."


@pytest.mark.parametrize(
    ("answer", "kind", "detail", "code"),
    [
        # 2022
        (says(400, {"name": [REQUIRED]}), InvalidRequest, f"name: {REQUIRED}", None),
        (says(400, {"non_field_errors": ["Invalid data."]}), InvalidRequest, "Invalid data.", None),
        (says(400, ["Must provide either"]), InvalidRequest, "Must provide either", None),
        (says(400, {"customer_id": [UNKNOWN]}), NotFound, f"customer_id: {UNKNOWN}", None),
        (says(400, {"status": "error", "detail": "Subscription not found"}), NotFound, "Subscription not found", None),
        (says(400, {"status": "error", "detail": "Customer not found"}), NotFound, "Customer not found", None),
        (
            says(400, {"status": "error", "detail": "Subscription already ended"}),
            Conflict,
            "Subscription already ended",
            None,
        ),
        (says(409, {"detail": "Customer ID already exists"}), Conflict, "Customer ID already exists", None),
        (
            says(403, {"detail": "Authentication credentials were not provided."}),
            AuthenticationError,
            "Authentication credentials were not provided.",
            None,
        ),
        (says(404, {"detail": "Not found."}), NotFound, "Not found.", None),
        (says(415, {"detail": "Unsupported media type"}), UnexpectedAnswer, "Unsupported media type", None),
        (Answer(500, HTML, PAGE), ServerError, "Oops Oops", None),
        (Answer(400, HTML, b"<h1>Bad Request (400)</h1>"), UnexpectedAnswer, "Bad Request (400)", None),
        # 2024
        (
            of_2024(400, "required", REQUIRED, ("required", REQUIRED, "email")),
            InvalidRequest,
            REQUIRED,
            "required",
        ),
        (
            of_2024(400, "does_not_exist", UNKNOWN, ("does_not_exist", UNKNOWN, "customer_id")),
            NotFound,
            UNKNOWN,
            "does_not_exist",
        ),
        (
            of_2024(400, "duplicate_resource", "Customer ID already exists"),
            Conflict,
            "Customer ID already exists",
            "duplicate_resource",
        ),
        (of_2024(400, "overlapping_plans", "Overlapping \n Plan: Pro."), Conflict, "Overlapping Plan: Pro.", None),
        (
            of_2024(400, "invalid_state", "Subscription has already ended."),
            Conflict,
            "Subscription has already ended.",
            "invalid_state",
        ),
        (
            of_2024(400, "invalid", "Cannot void", ("invalid", "Cannot void an adjustment that is not active.", None)),
            Conflict,
            "Cannot void an adjustment that is not active.",
            None,
        ),
        (
            of_2024(401, "api_key_not_known", "API Key starting with … not known"),
            AuthenticationError,
            "API Key starting with … not known",
            "api_key_not_known",
        ),
        (of_2024(404, "resource_not_found", "Addon not found"), NotFound, "Addon not found", None),
        (of_2024(405, "method_not_allowed", "Method not allowed"), UnexpectedAnswer, "Method not allowed", None),
        (of_2024(500, "error", "A server error occurred."), ServerError, "A server error occurred.", "error"),
        (says(500, {"message": "Error fetching organization ID from cache"}), ServerError, "Error fetching", None),
        (Answer(400, HTML, b"Invalid API key"), AuthenticationError, "Invalid API key", None),
        (Answer(400, "text/plain", b"No API key found in request"), AuthenticationError, "No API key found", None),
        (says(400, {"message": "Invalid API key"}), AuthenticationError, "Invalid API key", None),
        (
            of_2024(400, "overlapping_plans", "Overlapping subscriptions. \n Plan: API keys"),
            Conflict,
            "Overlapping subscriptions. Plan: API keys",
            "overlapping_plans",
        ),
        (says(400, {"name": ["API key is no name."]}), InvalidRequest, "name: API key is no name.", None),
        (says(400, {}), AuthenticationError, "{}", None),
        (says(400, {"status": "failure", "error": "idempotency_ids is required"}), InvalidRequest, "idempotency", None),
        (Answer(413, HTML, PAGE), InvalidRequest, "Oops", None),
        # between us and the server
        (says(429, {"detail": "Slow down"}), RateLimited, "Slow down", None),
        (Answer(408, HTML, PAGE), ServerError, "Oops", None),
        (Answer(502, HTML, PAGE), ServerError, "Oops", None),
        (Answer(503, "", b""), ServerError, "", None),
        (Answer(403, HTML, PAGE), UnexpectedAnswer, "Oops", None),
        (Answer(404, HTML, PAGE), UnexpectedAnswer, "Oops", None),
        (Answer(301, HTML, b""), UnexpectedAnswer, "", None),
        (Answer(200, HTML, PAGE), UnexpectedAnswer, "Oops", None),
        (Answer(200, "application/json", b"{"), UnexpectedAnswer, "{", None),
        (Answer(200, "application/json", b'{"a": NaN}'), UnexpectedAnswer, "", None),
        (Answer(204, "", b""), UnexpectedAnswer, "", None),
        (Answer(418, "", b""), UnexpectedAnswer, "", None),
    ],
)
def test_every_form_of_error_has_its_class(answer: Answer, kind: type[APIError], detail: str, code: str | None) -> None:
    error = problem("create_customer", answer, changes=True)
    assert type(error) is kind
    assert error.status == answer.status
    assert detail in " ".join(error.detail.split())
    if code is not None:
        assert error.code == code
    assert str(error).startswith("create_customer: ")
    assert len(str(error)) < 500


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("value", [{}, [], {"access": True}, None])
def test_json_with_a_status_of_success_is_no_problem(status: int, value: object) -> None:
    assert problem("ping", says(status, value), changes=True) is None


def test_errors_by_field_are_told_by_field_in_both_forms() -> None:
    expected = {"name": (REQUIRED, "Too short."), "customer_id": (REQUIRED,), "": ("All wrong.",)}
    body = {"name": [REQUIRED, "Too short."], "customer_id": [REQUIRED], "non_field_errors": ["All wrong."]}
    older = problem("x", says(400, body), changes=True)
    newer = problem(
        "x",
        of_2024(
            400,
            "required",
            REQUIRED,
            ("required", REQUIRED, "name"),
            ("min", "Too short.", "name"),
            ("required", REQUIRED, "customer_id"),
            ("invalid", "All wrong.", "non_field_errors"),
        ),
        changes=True,
    )
    assert older is not None
    assert newer is not None
    assert older.field_errors == newer.field_errors == expected


def test_a_page_is_cut_short_and_its_tags_are_left_out() -> None:
    error = problem("x", Answer(502, HTML, PAGE + b"<p>" + b"spam " * 100_000), changes=True)
    assert " ".join(str(error).split()).startswith("x: HTTP 502: Oops Oops spam")
    assert len(str(error)) < 300
    assert "<" not in str(error)


def test_a_rate_limit_says_how_long_to_wait_and_that_nothing_was_done() -> None:
    error = problem("x", Answer(429, "", b"", retry_after=7.0), changes=True)
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.outcome_unknown) == (7.0, False)


def test_the_id_of_a_request_is_kept() -> None:
    error = problem("x", Answer(500, HTML, PAGE, request_id="req-1"), changes=True)
    assert error is not None
    assert error.request_id == "req-1"


@pytest.mark.parametrize(
    ("answer", "unknown"),
    [
        (Answer(500, HTML, PAGE), True),
        (Answer(502, HTML, PAGE), True),
        (Answer(460, HTML, PAGE), True),
        (Answer(499, HTML, PAGE), True),
        (Answer(494, HTML, PAGE), False),
        (Answer(524, HTML, PAGE), True),
        (Answer(200, HTML, PAGE), True),
        (Answer(404, HTML, PAGE), False),
        (Answer(301, HTML, PAGE), False),
        (says(400, {"name": [REQUIRED]}), False),
        (says(409, {"detail": "exists"}), False),
        (NoAnswer("refused"), False),
        (NoAnswer("reset", sent=True), True),
        (NoAnswer("silence", timed_out=True, sent=True), True),
    ],
)
def test_the_outcome_of_a_change_is_unknown_where_it_is(answer: Answer | NoAnswer, unknown: bool) -> None:
    change, read = problem("x", answer, changes=True), problem("x", answer, changes=False)
    assert change is not None
    assert read is not None
    assert (change.outcome_unknown, read.outcome_unknown) == (unknown, False)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (NoAnswer("connection refused"), ConnectionFailed),
        (NoAnswer("reset", sent=True), ConnectionFailed),
        (NoAnswer("no connection in time", timed_out=True), Timeout),
        (NoAnswer("silence", timed_out=True, sent=True), Timeout),
    ],
)
def test_no_answer_says_whether_the_request_may_have_arrived(answer: NoAnswer, kind: type[ConnectionFailed]) -> None:
    error = problem("x", answer, changes=True)
    assert type(error) is kind
    assert error.sent is answer.sent
    assert (error.status, str(error)) == (None, f"x: {answer.reason}")


@given(
    status=st.integers(200, 599),
    content_type=st.sampled_from(["application/json", HTML, "text/plain", ""]),
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["detail", "type", "title", "validation_errors", "attr", "x"]), inner, max_size=4
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
)
def test_no_answer_whatever_is_in_it_raises_anything_else(status: int, content_type: str, body: bytes) -> None:
    error = problem("x", Answer(status, content_type, body), changes=True)
    if error is None:
        assert status in (200, 201)
    else:
        assert str(error).isprintable()
        assert error.detail.isprintable()


def _all_errors(kind: type[APIError]) -> list[type[APIError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _all_errors(child))]


@pytest.mark.parametrize("kind", _all_errors(APIError))
def test_an_error_survives_a_process_pool(kind: type[APIError]) -> None:
    error = kind("what", status=400, code="c", detail="d", field_errors={"a": ("b",)}, request_id="r")
    error.outcome_unknown = True
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "what"
    assert vars(copy) == vars(error)
    assert isinstance(copy, LotusError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for kind in _all_errors(APIError):
        assert f"─ {kind.__name__} " in drawn
    assert issubclass(InvalidRequest, ValueError)
