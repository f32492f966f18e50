"""What was not recorded of customers, plans and subscriptions on the server of 2022, and of the form of its errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lotus_durable.testing import FakeLotus
from tests.testing.conftest import Event, RawClient

from .conftest import ACCESS, REQUIRED, SUBSCRIPTIONS, subscribe

CUSTOMERS, CANCEL = "/api/customers/", "/api/cancel_subscription/"


# ------------------------------------------------------------------ customers


def test_a_customer_is_created_and_currency_is_ignored_without_a_word(client: RawClient) -> None:
    answer = client.post(CUSTOMERS, {"customer_id": "c9", "name": "Nine", "currency": "XXX"})
    assert answer.status == 201
    assert (answer.json()["customer_id"], answer.json()["name"]) == ("c9", "Nine")
    assert "currency" not in answer.json()
    assert client.get(CUSTOMERS + "c9/").json() == answer.json()
    assert client.get(CUSTOMERS).json() == [answer.json()]


def test_a_created_customer_is_known_to_track(
    start: Callable[..., FakeLotus], connect: Callable[..., RawClient], event: Event
) -> None:
    client = connect(start("L22", customers=[]))
    assert client.track(event("a")).status == 400
    client.post(CUSTOMERS, {"customer_id": "c1", "name": "One"})
    assert client.track(event("a")).status == 201


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"customer_id": REQUIRED, "name": REQUIRED}),
        ({"customer_id": None, "name": "N"}, {"customer_id": ["This field may not be null."]}),
        ({"customer_id": " ", "name": "N"}, {"customer_id": ["This field may not be blank."]}),
        ({"customer_id": ["c"], "name": "N"}, {"customer_id": ["Not a valid string."]}),
        (
            {"customer_id": "c", "name": "N" * 101},
            {"name": ["Ensure this field has no more than 100 characters."]},
        ),
        ([1], {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
    ],
)
def test_a_customer_that_does_not_fit_is_refused_by_field(
    client: RawClient, body: object, errors: dict[str, list[str]]
) -> None:
    answer = client.post(CUSTOMERS, body)
    assert (answer.status, answer.json()) == (400, errors)


@pytest.mark.parametrize("path", [CUSTOMERS + "a.b/", CUSTOMERS + "a%2Fb/", CUSTOMERS + "../plans/"])
def test_an_id_with_a_dot_or_a_slash_finds_no_view(client: RawClient, server: FakeLotus, path: str) -> None:
    server.add_customer("a.b")
    answer = client.get(path)
    assert answer.status == 404
    assert answer.content_type.startswith("text/html")


# ------------------------------------------------------------------ what every call shares


def test_no_body_is_an_empty_form(client: RawClient) -> None:
    assert client.request("POST", CUSTOMERS).json() == {"customer_id": REQUIRED, "name": REQUIRED}


def test_another_content_type_is_415_and_a_charset_is_not(client: RawClient) -> None:
    assert client.post(CUSTOMERS, content_type="text/plain").status == 415
    assert client.post(CUSTOMERS, content_type="application/json; charset=utf-8").status == 400


@pytest.mark.parametrize(
    "path",
    [
        "/api/ping/",
        "/api/verify_idems_received/",
        "/api/credits/",
        "/api/metric_access/",
        "/api/subscriptions/x/cancel/",
    ],
)
def test_what_came_later_is_a_404_page(client: RawClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status == 404
    assert answer.content_type.startswith("text/html")


# ------------------------------------------------------------------ plans and subscriptions


@pytest.mark.usefixtures("plan")
def test_a_subscription_is_created_with_the_end_of_its_period(client: RawClient) -> None:
    answer = subscribe(client, auto_renew="False", subscription_uid="s-1")
    assert answer.status == 201
    assert answer.json() == {
        "customer_id": "c1",
        "billing_plan_id": "billing_plan_5",
        "start_date": "2024-02-01",
        "end_date": "2024-02-29",
        "status": "active",
        "auto_renew": False,
        "is_new": True,
        "subscription_uid": "s-1",
    }
    assert client.get(SUBSCRIPTIONS).json()[0]["customer"]["customer_id"] == "c1"


@pytest.mark.usefixtures("plan")
def test_a_blind_retry_makes_a_second_subscription(client: RawClient, server: FakeLotus) -> None:
    uids = {subscribe(client).json()["subscription_uid"] for _ in range(2)}
    assert len(uids) == 2
    assert set(server.accounts.subscriptions) == uids


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("start_date", ["2020-01-01T00:00:00Z", "2020-13-01", "today", 20200101])
def test_a_start_date_is_a_date_and_nothing_else(client: RawClient, start_date: object) -> None:
    answer = subscribe(client, start_date=start_date)
    detail = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
    assert (answer.status, answer.json()) == (400, {"start_date": [detail]})


@pytest.mark.usefixtures("plan")
def test_what_a_view_trips_over_is_a_500_page(client: RawClient, server: FakeLotus) -> None:
    answer = subscribe(client, start_date="9999-12-31")  # its period ends in no year that there is
    assert (answer.status, answer.content_type) == (500, "text/html")
    assert server.accounts.subscriptions == {}


@pytest.mark.usefixtures("plan")
def test_a_word_that_is_no_boolean_is_refused(client: RawClient) -> None:
    assert subscribe(client, auto_renew="perhaps").json() == {"auto_renew": ["Must be a valid boolean."]}


@pytest.mark.usefixtures("plan")
def test_cancelling_succeeds_as_often_as_it_is_asked(client: RawClient, server: FakeLotus) -> None:
    uid = subscribe(client).json()["subscription_uid"]
    for _ in range(2):
        answer = client.post(CANCEL, {"subscription_uid": uid, "bill_now": "True"})
        assert (answer.status, answer.json()["status"]) == (200, "success")
    assert server.accounts.subscriptions[uid].auto_renew is False
    assert server.accounts.subscriptions[uid].status == "active"


@pytest.mark.usefixtures("plan")
def test_cancelling_with_an_invoice_is_201_and_ends_access(client: RawClient) -> None:
    uid = subscribe(client).json()["subscription_uid"]
    assert client.get(ACCESS, customer_id="c1", feature_name="export").json() == {"access": True}
    answer = client.post(CANCEL, {"subscription_uid": uid, "revoke_access": True})
    assert answer.status == 201
    assert client.get(ACCESS, customer_id="c1", feature_name="export").json() == {"access": False}


@pytest.mark.usefixtures("plan")
def test_cancelling_before_the_start_deletes(client: RawClient, server: FakeLotus) -> None:
    uid = subscribe(client, start_date="2024-03-01").json()["subscription_uid"]
    assert client.post(CANCEL, {"subscription_uid": uid}).status == 200
    assert server.accounts.subscriptions == {}
