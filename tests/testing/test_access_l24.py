"""What was not recorded of access that follows usage, and of verify_idems_received, on the server of 2024."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from lotus_durable.testing import Component, FakeLotus, Feature, Plan

from .conftest import NOW, Event, RawAnswer, RawClient

BY_EVENT, BY_METRIC = "/api/customer_metric_access/", "/api/metric_access/"
BY_FEATURE_NAME, BY_FEATURE = "/api/customer_feature_access/", "/api/feature_access/"
VERIFY = "/api/verify_idems_received/"
CALLS = Component("call", limit=2, free_limit=1, metric_id="metric_" + "1" * 32)
EXPORT = Feature("export", feature_id="feature_" + "2" * 32)
UNKNOWN_ID = "0" * 32


@pytest.fixture
def server(start: Callable[..., FakeLotus]) -> FakeLotus:
    server = start("L24")
    server.add_customer("c1")
    return server


@pytest.fixture
def plan(server: FakeLotus) -> Plan:
    """A plan with a limit of two calls and a feature, to which c1 is subscribed."""
    plan = server.accounts.add_plan("Basic", components=[CALLS], features=[EXPORT])
    server.accounts.add_subscription("c1", plan)
    return plan


# ------------------------------------------------------------------ usage


@pytest.mark.usefixtures("plan")
def test_access_follows_the_events_that_were_tracked(client: RawClient, event: Event) -> None:
    seen = []
    for i in range(3):
        entry = client.get(BY_EVENT, customer_id="c1", event_name="call").json()[0]
        answer = client.get(BY_METRIC, customer_id="c1", metric_id=CALLS.metric_id).json()
        seen.append((entry["usage_per_component"][0]["metric_usage"], answer["access"]))
        client.track(event(f"id-{i}"), event(f"other-{i}", customer_id="c2"), event(f"ping-{i}", event_name="ping"))
    assert seen == [(0, True), (1, True), (2, False)]


@pytest.mark.usefixtures("plan")
def test_only_events_within_the_subscription_count(client: RawClient, event: Event, server: FakeLotus) -> None:
    before = (NOW - timedelta(days=2)).isoformat()
    client.track(event("early", time_created=before), event("now"))
    entry = client.get(BY_EVENT, customer_id="c1", event_name="call").json()[0]
    assert entry["usage_per_component"][0]["metric_usage"] == 1
    server.lose_events("now")
    entry = client.get(BY_EVENT, customer_id="c1", event_name="call").json()[0]
    assert entry["usage_per_component"][0]["metric_usage"] == 0


def test_a_property_can_be_summed(client: RawClient, event: Event, server: FakeLotus) -> None:
    plan = server.accounts.add_plan("Traffic", components=[Component("call", property_name="mb", limit=10)])
    server.accounts.add_subscription("c1", plan)
    for i, properties in enumerate(({"mb": 1.5}, {"mb": 2}, {})):
        client.track(event(f"id-{i}", properties=properties))
    entry = client.get(BY_EVENT, customer_id="c1", event_name="call").json()[0]
    assert entry["usage_per_component"][0]["metric_usage"] == 3.5
    assert entry["usage_per_component"][0]["metric_free_limit"] is None
    client.track(event("text", properties={"mb": "much"}))
    answer = client.get(BY_EVENT, customer_id="c1", event_name="call")
    assert (answer.status, answer.json()["title"]) == (500, "aggregation_engine_failure")


def test_a_filtered_subscription_counts_its_events_only(client: RawClient, event: Event, server: FakeLotus) -> None:
    plan = server.accounts.add_plan("Basic", components=[CALLS])
    server.accounts.add_subscription("c1", plan).filters = (("region", "US"),)
    client.track(event("us", properties={"region": "US"}), event("eu", properties={"region": "EU"}))

    def ask(**filters: str) -> RawAnswer:
        query = {f"subscription_filters[0]{name}": value for name, value in filters.items()}
        return client.get(BY_EVENT, customer_id="c1", event_name="call", **query)

    (entry,) = ask(property_name="region", value="US").json()
    assert entry["usage_per_component"][0]["metric_usage"] == 1
    assert ask(property_name="region", value="EU").json() == []
    assert ask(property_name="region").status == 400


# ------------------------------------------------------------------ who has access to what


def test_an_addon_gives_access_until_it_is_cancelled(client: RawClient, server: FakeLotus) -> None:
    extra = Feature("extra")
    plan = server.accounts.add_plan("Basic")
    addon = server.accounts.add_plan("Extra", components=[CALLS], features=[extra], addon=True)
    path = f"/api/subscriptions/{server.accounts.add_subscription('c1', plan).subscription_id}/addons/"

    def has_access() -> bool:
        answer = client.get(BY_FEATURE, customer_id="c1", feature_id=extra.feature_id).json()
        return bool(answer["access"])

    assert not has_access()
    client.post(path + "attach/", {"addon_id": addon.plan_id})
    assert has_access()
    got = client.get(BY_METRIC, customer_id="c1", metric_id=CALLS.metric_id).json()
    assert got["access_per_subscription"][0]["metric_total_limit"] == 2.0
    client.post(f"{path}{addon.plan_id}/cancel/")
    assert not has_access()


def test_a_subscription_without_the_metric_counts_as_access(client: RawClient, server: FakeLotus, plan: Plan) -> None:
    server.accounts.add_subscription("c2", server.accounts.add_plan("Empty"))
    answer = client.get(BY_METRIC, customer_id="c2", metric_id=plan.components[0].metric_id).json()
    assert answer["access"] is True  # what the server's comparison with a limit of zero makes of it


@pytest.mark.parametrize(
    ("path", "query", "code", "attr"),
    [
        (BY_EVENT, {"event_name": "call"}, "required", "customer_id"),
        (
            BY_EVENT,
            {"customer_id": "c1", "event_name": "call", "metric_id": CALLS.metric_id},
            "invalid",
            "non_field_errors",
        ),
        (BY_FEATURE_NAME, {"customer_id": "c1"}, "required", "feature_name"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("plan")
def test_a_question_that_does_not_fit_is_refused(
    client: RawClient, path: str, query: dict[str, str], code: str, attr: str
) -> None:
    answer = client.get(path, **query)
    error = answer.json()["validation_errors"][0]
    assert (answer.status, error["code"], error["attr"]) == (400, code, attr)


# ------------------------------------------------------------------ verify_idems_received


def test_what_was_lost_is_not_found(client: RawClient, event: Event, server: FakeLotus) -> None:
    client.track(event("a"), event("b"), event("old", time_created=(NOW - timedelta(days=9)).isoformat()))
    server.lose_events("b")
    body = {"idempotency_ids": ["a", "b", "old", "never", "never"]}
    answer = client.post(VERIFY, body)
    assert answer.json() == {"status": "success", "ids_not_found": ["b", "never"]}
    answer = client.post(VERIFY, {**body, "number_days_lookback": 7})
    assert answer.json()["ids_not_found"] == ["b", "old", "never"]
    assert client.track(event("b")).status == 201
    assert server.duplicates == 0


def test_a_server_that_keeps_ids_only_can_still_verify(
    start: Callable[..., FakeLotus], connect: Callable[..., RawClient], event: Event
) -> None:
    client = connect(start("L24", keep_events=False))
    client.track(event("a"))
    assert client.post(VERIFY, {"idempotency_ids": ["a", "b"]}).json()["ids_not_found"] == ["b"]


def test_verifying_without_ids_is_400_and_with_strange_ones_500(client: RawClient) -> None:
    answer = client.post(VERIFY)
    assert (answer.status, answer.json()) == (400, {"status": "failure", "error": "idempotency_ids is required"})
    for body in (
        {"idempotency_ids": "a"},
        {"idempotency_ids": [1]},
        {"idempotency_ids": ["a"], "customer_id": "c1"},
        {"idempotency_ids": ["a"], "number_days_lookback": "30"},
        {"idempotency_ids": ["a"], "number_days_lookback": 10**19},
    ):
        answer = client.post(VERIFY, body)
        assert (answer.status, answer.json()["title"]) == (500, "error")
