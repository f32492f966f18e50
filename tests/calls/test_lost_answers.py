"""What is made of a refusal when an attempt before it may have been carried out."""

from __future__ import annotations

from typing import Any

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import APIError, Conflict, ConnectionFailed, NotFound, UnexpectedAnswer
from lotus_durable.testing import FakeLotus, Reset, Status
from tests.delivery.scripted_server import hangs_up, resets, says, stays_silent

from .conftest import Connect
from .losing import EXISTS_2022, SAFE, UNSAFE, call, exists_2024, fails

# -- create_customer: an answer that got lost --


@pytest.mark.parametrize(("fixture", "contact"), [("l22", {}), ("l24", {"email": "c@example.com"})])
@pytest.mark.parametrize("customer_id", ["c1", "some.one@example.com", "a/b"])
def test_a_customer_created_by_an_attempt_whose_answer_got_lost_is_returned(
    fixture: str, contact: dict[str, Any], customer_id: str, request: pytest.FixtureRequest, connect: Connect
) -> None:
    server: FakeLotus = request.getfixturevalue(fixture)
    server.fail_next(None, *([None] if fixture == "l22" else []), Reset("after_storing"))
    customer = connect(server).create_customer(customer_id=customer_id, name="One", **contact)
    assert customer["customer_id"] == customer_id
    assert customer.get("email") == contact.get("email")
    assert list(server.accounts.customers) == [customer_id]


@pytest.mark.parametrize(("fixture", "contact"), [("l22", {}), ("l24", {"email": "c@example.com"})])
def test_a_customer_that_existed_before_is_a_conflict(
    fixture: str, contact: dict[str, Any], request: pytest.FixtureRequest, connect: Connect
) -> None:
    client = connect(request.getfixturevalue(fixture))
    client.create_customer(customer_id="c1", name="One", **contact)
    with pytest.raises(Conflict, match="Customer ID already exists") as refused:
        client.create_customer(customer_id="c1", name="One", **contact)
    assert not refused.value.outcome_unknown


def test_somebody_elses_address_is_a_conflict_also_after_a_lost_answer(l24: FakeLotus, connect: Connect) -> None:
    l24.accounts.add_customer("other", email="c@example.com")
    client = connect(l24, api_version="2024")
    l24.fail_next(Reset("before_reading"))
    with pytest.raises(Conflict, match="email already exists"):
        client.create_customer(customer_id="c1", email="c@example.com")


def test_our_own_address_is_none_when_the_server_names_it_first(connect: Connect) -> None:
    ours = says(200, b'{"customer_id": "c", "email": "c@example.com"}')
    customer, requests = call(connect, hangs_up, exists_2024("email"), ours, ask=SAFE["create_customer"])
    assert customer == {"customer_id": "c", "email": "c@example.com"}
    assert requests[-1] == "GET /api/customers/c/"


def test_an_address_is_not_ours_when_the_customer_of_this_id_has_another(connect: Connect) -> None:
    theirs = says(200, b'{"customer_id": "c", "email": "other@example.com"}')
    error, _ = call(connect, hangs_up, exists_2024("email"), theirs, ask=SAFE["create_customer"])
    assert isinstance(error, Conflict)


def test_a_customer_that_exists_but_cannot_be_read_is_returned_by_its_id(connect: Connect) -> None:
    customer, _ = call(connect, hangs_up, exists_2024("ID"), fails(500), ask=SAFE["create_customer"])
    assert customer == {"customer_id": "c"}
    error, _ = call(connect, hangs_up, exists_2024("email"), fails(500), ask=SAFE["create_customer"])
    assert isinstance(error, Conflict)
    assert error.outcome_unknown


def test_a_request_sent_twice_over_a_closed_connection_counts_as_two(connect: Connect) -> None:
    def ask(client: Client) -> object:
        client.list_customers()
        return client.create_customer(customer_id="c", name="C")

    ours = says(200, b'{"customer_id": "c", "name": "C"}')
    customer, requests = call(connect, says(200, b"[]"), hangs_up, EXISTS_2022, ours, ask=ask, api_version="2022")
    assert customer == {"customer_id": "c", "name": "C"}
    assert len(requests) == 4


# -- cancel_subscription: an answer that got lost --


def test_a_subscription_cancelled_by_an_attempt_whose_answer_got_lost_is_returned(
    l24: FakeLotus, connect: Connect
) -> None:
    subscription = l24.accounts.add_subscription("c1", l24.accounts.add_plan("Pro"))
    client = connect(l24, api_version="2024")
    l24.fail_next(Reset("after_storing"))
    cancelled = client.cancel_subscription(subscription_id=subscription.subscription_id)
    assert cancelled["subscription_id"] == subscription.subscription_id
    assert cancelled["auto_renew"] is False
    with pytest.raises(Conflict, match="already ended"):
        client.cancel_subscription(subscription_id=subscription.subscription_id)


def test_one_that_ended_meanwhile_is_cancelled_also_when_it_cannot_be_read(connect: Connect) -> None:
    ended = says(400, b'{"type": "x", "title": "invalid_state", "detail": "Subscription has already ended."}')
    assert call(connect, resets, ended, fails(500), ask=SAFE["cancel_subscription"])[0] == {"subscription_id": "s"}
    ended = says(400, b'{"status": "error", "detail": "Subscription already ended"}')
    result, _ = call(connect, resets, ended, ask=SAFE["cancel_subscription"], api_version="2022")
    assert result == {"subscription_uid": "s"}


def test_one_that_is_gone_after_a_lost_answer_may_have_been_deleted_by_it(l22: FakeLotus, connect: Connect) -> None:
    client = connect(l22, api_version="2022")
    l22.fail_next(Reset("before_reading"))
    with pytest.raises(NotFound) as refused:
        client.cancel_subscription(subscription_uid="s")
    assert refused.value.outcome_unknown


def test_the_older_server_takes_a_cancellation_twice(l22: FakeLotus, connect: Connect) -> None:
    l22.accounts.add_subscription("c1", l22.accounts.add_plan("Pro"), subscription_id="s")
    client = connect(l22, api_version="2022")
    l22.fail_next(Reset("after_storing"))
    assert client.cancel_subscription(subscription_uid="s")["status"] == "success"
    assert l22.accounts.subscriptions["s"].auto_renew is False


@pytest.mark.parametrize(
    ("bill_now", "revoke_access", "attempts"), [(True, True, 1), (True, False, 2), (False, True, 2), (True, None, 2)]
)
def test_the_older_server_is_not_asked_twice_for_what_it_would_bill_twice(
    bill_now: bool, revoke_access: bool | None, attempts: int, connect: Connect
) -> None:
    result, requests = call(
        connect,
        hangs_up,
        says(200, b'{"status": "success"}'),
        ask=lambda client: client.cancel_subscription(
            subscription_uid="s", bill_now=bill_now, revoke_access=revoke_access
        ),
        api_version="2022",
    )
    assert len(requests) == attempts
    if attempts == 1:
        assert (result.sent, result.outcome_unknown) == (True, True)


def test_a_lost_answer_makes_a_later_refusal_uncertain_too(connect: Connect) -> None:
    error, _ = call(connect, hangs_up, says(400, b'{"name": ["Too long."]}'), ask=SAFE["create_customer"])
    assert error.outcome_unknown
    error, _ = call(connect, hangs_up, hangs_up, hangs_up, stays_silent, ask=SAFE["create_customer"], call_timeout=0.6)
    assert error.sent


def test_a_success_that_cannot_be_read_is_no_success(connect: Connect) -> None:
    for reply in (says(201, b"[]"), says(201, b"{", "Content-Type: text/html"), says(201, b"null")):
        error, requests = call(connect, reply, ask=UNSAFE["create_subscription"])
        assert isinstance(error, UnexpectedAnswer)
        assert error.outcome_unknown
        assert len(requests) == 1
    error, _ = call(connect, says(200, b"{}"), ask=SAFE["list_customers"])
    assert isinstance(error, UnexpectedAnswer)
    assert not error.outcome_unknown


def test_faults_of_a_real_sequence_leave_one_subscription_or_none(l22: FakeLotus, connect: Connect) -> None:
    l22.accounts.add_plan("Five", plan_id="five")
    l22.add_customer("c1")
    client = connect(l22, api_version="2022")
    for fault in (Reset("after_storing"), Status(502, stored=True), Reset("before_reading"), Status(503)):
        before = len(l22.accounts.subscriptions)
        l22.fail_next(fault)
        with pytest.raises(APIError) as failed:
            client.create_subscription(customer_id="c1", billing_plan_id="five", start_date="2024-01-01")
        assert failed.value.outcome_unknown
        assert len(l22.accounts.subscriptions) <= before + 1


def test_a_server_that_went_away_after_a_lost_answer_may_have_got_the_request(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24, api_version="2024")
    client.caller()._pause = lambda _: l24.pause()
    l24.fail_next(Reset("after_storing"))
    with pytest.raises(ConnectionFailed, match="connection refused") as failed:
        client.create_customer(customer_id="c", email="c@example.com")
    assert (failed.value.sent, failed.value.outcome_unknown) == (True, True)
    assert list(l24.accounts.customers) == ["c"]
