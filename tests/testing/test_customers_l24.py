"""What was not recorded of customers and credits on the server of 2024, and of the form of its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.testing.conftest import RawAnswer, RawClient

CUSTOMERS, CREDITS, PLANS = "/api/customers/", "/api/credits/", "/api/plans/"
CUSTOMER = {"customer_id": "c1", "email": "one@example.com"}
CREDIT = {"customer_id": "c1", "amount": "12.3456789", "currency_code": "USD"}
UNKNOWN_ID = "0" * 32


def assert_problem(answer: RawAnswer, status: int, title: str, detail: str, attr: str | None = "-") -> None:
    """Check an error of this server; ``attr`` that of a validation error."""
    assert (answer.status, answer.json()["title"], answer.json()["detail"]) == (status, title, detail)
    if attr == "-":
        assert answer.json()["type"].endswith("#server-error" if status >= 500 else "#client-error")
        assert "validation_errors" not in answer.json()
    else:
        assert answer.json()["type"].endswith("#validation-error")
        assert answer.json()["validation_errors"][0] == {"code": title, "detail": detail, "attr": attr}


# ------------------------------------------------------------------ what every call shares


@pytest.mark.parametrize(
    "path", ["metric_access", "feature_access", "customer_metric_access", "customer_feature_access"]
)
def test_key_errors_of_the_access_calls_are_400_text(client: RawClient, path: str) -> None:
    for key, text in (("wrong", b"Invalid API key"), (None, b"No API key found in request")):
        answer = client.request("GET", f"/api/{path}/", key=key)
        assert (answer.status, answer.body) == (400, text)
        assert answer.content_type.startswith("text/html")


def test_other_errors_have_the_same_form(client: RawClient) -> None:
    detail = 'Method "DELETE" not allowed.'
    assert_problem(client.request("DELETE", CUSTOMERS), 405, "method_not_allowed", detail)
    assert client.request("POST", CUSTOMERS, b"{").json()["title"] == "parse_error"
    assert client.post(CUSTOMERS, content_type="text/csv").json()["title"] == "unsupported_media_type"
    assert client.request("POST", CUSTOMERS, b"{}", chunked=True).status == 400


# ------------------------------------------------------------------ customers


@pytest.mark.parametrize(
    ("fields", "code", "attr"),
    [
        ({"email": None}, "null", "email"),
        ({"email": "nobody"}, "invalid", "email"),
        ({"default_currency_code": "XXX"}, "does_not_exist", "default_currency_code"),
        ({"payment_provider": "cash"}, "invalid_choice", "payment_provider"),
        ({"payment_provider": "stripe"}, "invalid", "non_field_errors"),
        ({"tax_rate": "much"}, "invalid", "tax_rate"),
        ({"tax_rate": True}, "invalid", "tax_rate"),
        ({"tax_rate": "1e11"}, "max_digits", "tax_rate"),
        ({"tax_rate": "1234"}, "max_whole_digits", "tax_rate"),
        ({"tax_rate": "0.12345"}, "max_decimal_places", "tax_rate"),
        ({"address": "Paris"}, "invalid", "address"),
    ],
)
def test_a_customer_that_does_not_fit_is_refused(
    client: RawClient, fields: dict[str, Any], code: str, attr: str
) -> None:
    answer = client.post(CUSTOMERS, {**CUSTOMER, **fields})
    assert answer.status == 400
    assert [(error["code"], error["attr"]) for error in answer.json()["validation_errors"]] == [(code, attr)]


def test_a_payment_provider_id_alone_breaks_the_server(client: RawClient) -> None:
    answer = client.post(CUSTOMERS, {**CUSTOMER, "payment_provider_id": "cus_1"})
    assert_problem(answer, 500, "error", "A server error occurred.")


# ------------------------------------------------------------------ credits


@pytest.fixture
def credit(client: RawClient) -> Any:
    client.post(CUSTOMERS, CUSTOMER)
    return client.post(CREDITS, CREDIT).json()


def test_a_blind_retry_makes_a_second_credit(client: RawClient, credit: Any) -> None:
    again = client.post(CREDITS, CREDIT)
    assert again.status == 201
    listed = client.get(CREDITS, customer_id="c1").json()
    assert [one["credit_id"] for one in listed] == [credit["credit_id"], again.json()["credit_id"]]


@pytest.mark.parametrize(
    ("fields", "code", "attr"),
    [
        ({"customer_id": "nobody"}, "does_not_exist", "customer_id"),
        ({"amount": None}, "null", "amount"),
        ({"amount": "NaN"}, "invalid", "amount"),
        ({"amount": 0}, "invalid", "non_field_errors"),
        ({"amount_paid": -1}, "min_value", "amount_paid"),
        ({"currency_code": "XXX"}, "does_not_exist", "currency_code"),
        ({"expires_at": "soon"}, "invalid", "expires_at"),
        ({"effective_at": "0001-01-01T00:00:00+14:00"}, "overflow", "effective_at"),
    ],
)
@pytest.mark.usefixtures("credit")
def test_a_credit_that_does_not_fit_is_refused(client: RawClient, fields: dict[str, Any], code: str, attr: str) -> None:
    answer = client.post(CREDITS, {**CREDIT, **fields})
    assert answer.status == 400
    assert [(error["code"], error["attr"]) for error in answer.json()["validation_errors"]] == [(code, attr)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["dated", "plain"]),
        ({"currency_code": "EUR"}, ["dated"]),
        ({"status": "inactive"}, []),
        ({"effective_after": "2024-03-01"}, ["dated"]),
        ({"effective_before": "2024-03-01T00:00:00Z"}, ["plain"]),
        ({"expires_before": "2024-06-01"}, ["dated"]),
        ({"expires_after": "2024-06-01"}, ["plain"]),
        ({"issued_before": "2024-01-01"}, []),
    ],
    ids=str,
)
def test_credits_are_filtered(client: RawClient, query: dict[str, str], found: list[str]) -> None:
    client.post(CUSTOMERS, CUSTOMER)
    dates = {"effective_at": "2024-04-01", "expires_at": "2024-05-01T00:00:00Z", "amount_paid": 1}
    client.post(CREDITS, {**CREDIT, **dates, "description": "dated", "currency_code": "EUR"})
    client.post(CREDITS, {**CREDIT, "description": "plain"})
    answer = client.get(CREDITS, customer_id="c1", **query)
    assert sorted(one["description"] for one in answer.json()) == found


def test_a_credit_is_listed_for_one_customer_only(client: RawClient) -> None:
    assert_problem(client.get(CREDITS), 400, "required", "This field is required.", "customer_id")
    answer = client.get(CREDITS, customer_id="c1", status="gone")
    assert answer.json()["validation_errors"][-1]["code"] == "invalid_choice"


def test_a_credit_does_not_end_in_the_past(client: RawClient, credit: Any) -> None:
    past = client.post(f"{CREDITS}{credit['credit_id']}/update/", {"expires_at": "2020-01-01"})
    assert_problem(past, 400, "invalid", "Expiration date must be in the future", "non_field_errors")


def test_an_unknown_credit_is_404_and_no_id_is_400(client: RawClient) -> None:
    assert client.post(f"{CREDITS}baladj_{UNKNOWN_ID}/void/").status == 404
    answer = client.post(f"{CREDITS}mine/void/")
    assert answer.status == 400
    assert answer.json()["detail"].startswith("Input must be a string beginning with the prefix baladj_")
