"""What was not recorded of subscriptions and add-ons on the server of 2024."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lotus_durable.testing import FakeLotus, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.testing.conftest import RawAnswer, RawClient

SUBSCRIPTIONS = "/api/subscriptions/"
UNKNOWN_ID = "0" * 32


@dataclass
class Clock:
    now: datetime = datetime(2024, 2, 19, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(start: Callable[..., FakeLotus], clock: Clock) -> FakeLotus:
    server = start("L24", now=clock)
    server.add_customer("c1")
    server.accounts.filter_names = {"region"}
    return server


@pytest.fixture
def plan(server: FakeLotus) -> Plan:
    return server.accounts.add_plan("Basic", features=["export"])


@pytest.fixture
def addon(server: FakeLotus) -> Plan:
    return server.accounts.add_plan("Extra", features=["import"], addon=True)


@pytest.fixture
def create(client: RawClient, plan: Plan) -> Callable[..., RawAnswer]:
    body = {"customer_id": "c1", "plan_id": plan.plan_id, "start_date": "2024-02-01T00:00:00Z"}

    def create(**fields: Any) -> RawAnswer:
        sent = {**body, **fields}
        return client.post(SUBSCRIPTIONS, {name: value for name, value in sent.items() if value != "-"})

    return create


@pytest.fixture
def path(create: Callable[..., RawAnswer]) -> str:
    """The path of a subscription that has been created."""
    return f"{SUBSCRIPTIONS}{create().json()['subscription_id']}/"


def first_error(answer: RawAnswer) -> tuple[int, str, str | None]:
    error = answer.json()["validation_errors"][0]
    return answer.status, error["code"], error["attr"]


# ------------------------------------------------------------------ creating


def test_a_subscription_is_created_with_the_end_of_its_period(create: Callable[..., RawAnswer], plan: Plan) -> None:
    filters = [{"property_name": "region", "value": "US"}]
    answer = create(auto_renew=False, subscription_filters=filters, metadata={"a": 1})
    assert answer.status == 201
    got = answer.json()
    assert got["subscription_id"].startswith("sub_")
    assert (got["start_date"], got["end_date"]) == ("2024-02-01T00:00:00+00:00", "2024-02-29T23:59:59.999999+00:00")
    assert (got["auto_renew"], got["is_new"], got["addons"]) == (True, True, [])
    assert (got["subscription_filters"], got["metadata"]) == (filters, {"a": 1})
    assert got["billing_plan"]["plan_id"] == plan.plan_id
    assert got["customer"]["customer_id"] == "c1"


def test_a_version_id_does_as_well_and_a_date_is_midnight(create: Callable[..., RawAnswer], plan: Plan) -> None:
    answer = create(plan_id="-", version_id=plan.version_id, start_date="2024-02-10", end_date="2024-02-25")
    assert (answer.status, answer.json()["start_date"]) == (201, "2024-02-10T00:00:00+00:00")


@pytest.mark.parametrize("both", [True, False])
def test_exactly_one_of_plan_and_version_is_needed(create: Callable[..., RawAnswer], plan: Plan, both: bool) -> None:
    answer = create(version_id=plan.version_id) if both else create(plan_id="-")
    assert first_error(answer) == (400, "invalid", "non_field_errors")
    assert answer.json()["detail"] == "You must specify exactly one of plan_id or version_id"


@pytest.mark.parametrize(
    ("fields", "code", "attr"),
    [
        ({"customer_id": "nobody"}, "does_not_exist", "customer_id"),
        ({"customer_id": None}, "null", "customer_id"),
        ({"plan_id": "billing_plan_5"}, "invalid", "plan_id"),
        ({"plan_id": 5}, "invalid", "plan_id"),
        ({"plan_id": f"plan_{UNKNOWN_ID}"}, "does_not_exist", "plan_id"),
        ({"plan_id": "-", "version_id": f"plan_version_{UNKNOWN_ID}"}, "does_not_exist", "version_id"),
        ({"start_date": "-"}, "required", "start_date"),
        ({"start_date": "today"}, "invalid", "start_date"),
        ({"end_date": 7}, "invalid", "end_date"),
        ({"subscription_filters": {}}, "not_a_list", "subscription_filters"),
        ({"subscription_filters": [{"value": "US"}]}, "required", "subscription_filters.0.property_name"),
        ({"metadata": []}, "invalid", "metadata"),
    ],
    ids=str,
)
def test_a_subscription_that_does_not_fit_is_refused(
    create: Callable[..., RawAnswer], fields: dict[str, Any], code: str, attr: str
) -> None:
    assert first_error(create(**fields)) == (400, code, attr)


def test_an_addon_is_no_plan(create: Callable[..., RawAnswer], addon: Plan) -> None:
    assert first_error(create(plan_id=addon.plan_id)) == (400, "does_not_exist", "plan_id")


def test_a_second_one_to_the_same_plan_overlaps(create: Callable[..., RawAnswer]) -> None:
    create()
    answer = create(start_date="2024-02-05")
    assert (answer.status, answer.json()["title"]) == (400, "overlapping_plans")
    assert create(start_date="2024-03-05").status == 201


def test_different_filters_do_not_overlap(create: Callable[..., RawAnswer]) -> None:
    def filtered(region: str) -> int:
        return create(subscription_filters=[{"property_name": "region", "value": region}]).status

    assert [filtered("US"), filtered("EU"), filtered("US")] == [201, 201, 400]


# ------------------------------------------------------------------ cancelling, changing, listing


@pytest.mark.parametrize("field", ["flat_fee_behavior", "usage_behavior", "invoicing_behavior"])
def test_a_cancellation_takes_known_words_only(client: RawClient, path: str, field: str) -> None:
    assert first_error(client.post(path + "cancel/", {field: "prorate"})) == (400, "invalid_choice", field)
    assert client.get(path).json()["end_date"] == "2024-02-29T23:59:59.999999+00:00"


@pytest.mark.parametrize("action", ["", "cancel/", "update/", "switch_plan/", "addons/attach/", "addons/x/cancel/"])
def test_an_unknown_subscription_is_404_and_no_id_is_400(client: RawClient, action: str) -> None:
    method = "POST" if action else "GET"
    unknown = client.request(method, f"{SUBSCRIPTIONS}sub_{UNKNOWN_ID}/{action}", b"{}")
    assert (unknown.status, unknown.json()["title"]) == (404, "resource_not_found")
    assert client.request(method, f"{SUBSCRIPTIONS}subscription_4/{action}", b"{}").status == 400


def test_subscriptions_are_listed_by_status_plan_and_range(
    client: RawClient, server: FakeLotus, plan: Plan, clock: Clock
) -> None:
    other = server.accounts.add_plan("Other")
    day = timedelta(days=1)
    active = server.accounts.add_subscription("c1", plan)
    ended = server.accounts.add_subscription("c1", plan, start=clock.now - 9 * day, end=clock.now - 5 * day)
    later = server.accounts.add_subscription("c1", other, start=clock.now + day)
    server.accounts.add_subscription("c2", plan)

    def listed(query: str) -> set[str]:
        found = client.get(f"{SUBSCRIPTIONS}?customer_id=c1&{query}").json()
        return {one["subscription_id"] for one in found}

    assert listed("") == {active.subscription_id}
    assert listed("status=ended&status=not_started") == {ended.subscription_id, later.subscription_id}
    assert listed(f"status=not_started&status=active&plan_id={other.plan_id}") == {later.subscription_id}
    assert listed("status=ended&range_start=2024-02-16") == set()
    assert listed("status=ended&range_end=2024-02-16") == {ended.subscription_id}


def test_a_list_is_of_one_customer_and_of_known_statuses(client: RawClient) -> None:
    assert first_error(client.get(SUBSCRIPTIONS)) == (400, "required", "customer_id")
    assert first_error(client.get(SUBSCRIPTIONS, customer_id="c1", status="gone"))[1:] == (
        "invalid_choice",
        "status",
    )


# ------------------------------------------------------------------ switching


def test_switching_ends_the_old_and_starts_a_new_one_with_its_addons(
    client: RawClient, server: FakeLotus, path: str, addon: Plan
) -> None:
    other = server.accounts.add_plan("Other")
    client.post(path + "addons/attach/", {"addon_id": addon.plan_id})
    got = client.post(path + "switch_plan/", {"switch_plan_id": other.plan_id}).json()
    assert (got["billing_plan"]["plan_id"], got["start_date"]) == (other.plan_id, "2024-02-19T12:00:00+00:00")
    assert [one["addon"]["addon_id"] for one in got["addons"]] == [addon.plan_id]
    assert client.get(path).json()["end_date"] == "2024-02-19T12:00:00+00:00"


def test_a_switch_that_does_not_fit_is_refused(client: RawClient, server: FakeLotus, path: str, plan: Plan) -> None:
    yearly = server.accounts.add_plan("Year", duration="yearly")
    for body, detail in (
        ({}, "Must specify either plan or plan_version."),
        ({"switch_plan_version_id": plan.version_id}, "Cannot switch to the same plan."),
        ({"switch_plan_id": yearly.plan_id}, "Cannot switch to a plan with a different duration."),
        (
            {"switch_plan_id": yearly.plan_id, "usage_behavior": "invoice_now"},
            '"invoice_now" is not a valid choice.',
        ),
    ):
        answer = client.post(path + "switch_plan/", body)
        assert (answer.status, answer.json()["detail"]) == (400, detail)


# ------------------------------------------------------------------ add-ons


def test_an_addon_that_does_not_fit_is_refused(client: RawClient, path: str, addon: Plan, plan: Plan) -> None:
    attach = path + "addons/attach/"
    both = {"addon_id": addon.plan_id, "addon_version_id": addon.version_id}
    assert first_error(client.post(attach, both))[1:] == ("invalid", "non_field_errors")
    assert first_error(client.post(attach))[1:] == ("invalid", "non_field_errors")
    assert first_error(client.post(attach, {"addon_id": plan.plan_id}))[1:] == ("does_not_exist", "addon_id")
    quantity = client.post(attach, {"addon_id": addon.plan_id, "quantity": 0})
    assert first_error(quantity)[1:] == ("min_value", "quantity")
    quantity = client.post(attach, {"addon_id": addon.plan_id, "quantity": "two"})
    assert first_error(quantity)[1:] == ("invalid", "quantity")
