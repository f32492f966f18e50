"""One object for what both servers say about access, and what becomes of answers that do not say."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.calls.access_answer import Access, Usage, read_access
from lotus_durable.calls.answers import _exact
from lotus_durable.client import Client
from lotus_durable.errors import NotFound, UnexpectedAnswer
from lotus_durable.testing import Component, FakeLotus, Feature
from tests.delivery.scripted_server import ScriptedServer, says

from .conftest import Connect


def component(usage: Any = 1, limit: Any = "2.0000000000", **more: Any) -> dict[str, Any]:
    return {"event_name": "call", "metric_usage": usage, "metric_total_limit": limit, **more}


def plans(*components: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"plan_id": "plan_1", "usage_per_component": [one]} for one in components]


@pytest.mark.parametrize(
    ("answer", "access"),
    [
        ([], False),
        ([{"plan_id": "plan_1", "usage_per_component": []}], False),
        (plans(component()), True),
        (plans(component(2)), False),
        (plans(component(3)), False),
        (plans(component("1.9999999999")), True),
        (plans(component(Decimal("1.5"), Decimal("1.5"))), False),
        (plans(component(99, None)), True),
        (plans(component(None, None)), True),
        (plans(component(0, 0)), False),
        (plans(component(5), component(1)), True),
        (plans(component(5), component(None)), None),
        (plans(component(1), component(None)), True),
        (plans(component("much")), None),
        (plans(component("NaN")), None),
        (plans(component(True)), None),
        (plans({"event_name": "call", "metric_usage": 1}), None),
        ([{"plan_id": "plan_1"}], None),
        ([{"plan_id": "plan_1", "usage_per_component": None}], None),
        ([{"plan_id": "plan_1", "usage_per_component": ["x"]}], None),
        (["x"], None),
        ({"access": True}, None),
        (None, None),
    ],
)
def test_access_by_event_is_a_component_with_room(answer: Any, access: bool | None) -> None:
    found = read_access("2024", "event_name", _exact(answer))
    assert (None if found is None else found.access) is access


@pytest.mark.parametrize(
    ("answer", "access"),
    [
        ([], False),
        ([{"access": False}], False),
        ([{"access": False}, {"access": True}], True),
        ([{"access": "yes"}], None),
        ([{"access": "yes"}, {"access": True}], True),
        ([{}], None),
        ({"access": True}, None),
    ],
)
def test_access_by_feature_is_a_subscription_that_has_it(answer: Any, access: bool | None) -> None:
    found = read_access("2024", "feature_name", answer)
    assert (None if found is None else found.access) is access


@pytest.mark.parametrize(
    ("generation", "kind"),
    [("2022", "event_name"), ("2022", "feature_name"), ("2024", "metric_id"), ("2024", "feature_id")],
)
@pytest.mark.parametrize(
    ("answer", "access"),
    [
        ({"access": True}, True),
        ({"access": False, "usages": [None]}, False),
        ({"access": True, "metric": {}, "access_per_subscription": [None, {"subscription": None}]}, True),
        ({"access": None}, None),
        ({"access": "true"}, None),
        ({"access": 1}, None),
        ({}, None),
        ([], None),
    ],
)
def test_elsewhere_the_server_says_it_itself(generation: Any, kind: str, answer: Any, access: bool | None) -> None:
    found = read_access(generation, kind, _exact(answer))
    assert (None if found is None else found.access) is access


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "access",
                    "metric",
                    "access_per_subscription",
                    "subscription",
                    "plan",
                    "plan_id",
                    "usage_per_component",
                    "metric_usage",
                    "metric_total_limit",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    answer=_JSON,
    generation=st.sampled_from(["2022", "2024"]),
    kind=st.sampled_from(["event_name", "feature_name", "metric_id", "feature_id"]),
)
def test_no_answer_whatever_is_in_it_raises_anything(answer: Any, generation: Any, kind: str) -> None:
    found = read_access(generation, kind, _exact(answer))
    assert found is None or found.access in (True, False)


def test_it_is_neither_true_nor_false_by_itself() -> None:
    for access in (True, False):
        answer = Access(access=access)
        with pytest.raises(TypeError, match=r"use its \.access"):
            bool(answer)
        with pytest.raises(TypeError):
            assert answer


def test_the_answer_tells_usage_and_limits_and_keeps_what_the_server_said(l24: FakeLotus, connect: Connect) -> None:
    calls = Component("call", limit=2, free_limit=1, metric_name="calls")
    plan = l24.accounts.add_plan("Pro", components=[calls])
    l24.accounts.add_subscription("c1", plan)
    client = connect(l24)
    expected = Usage(
        plan_id=plan.plan_id,
        event_name="call",
        metric_id=calls.metric_id,
        metric_name="calls",
        usage=Decimal(0),
        free_limit=Decimal(1),
        total_limit=Decimal(2),
        access=True,
    )
    questions: list[dict[str, Any]] = [{"event_name": "call"}, {"metric_id": calls.metric_id}]
    for arguments in questions:
        answer = client.get_customer_access(customer_id="c1", **arguments)
        assert (answer.access, answer.usages) == (True, (expected,))
        assert answer.answer


def test_access_follows_usage(l24: FakeLotus, connect: Connect) -> None:
    l24.accounts.add_subscription("c1", l24.accounts.add_plan("Pro", components=[Component("call", limit=2)]))
    client = connect(l24)
    seen = []
    for _ in range(3):
        answer = client.get_customer_access(customer_id="c1", event_name="call")
        seen.append((answer.usages[0].usage, answer.access))
        client.track_event(customer_id="c1", event_name="call")
        assert client.drain(20).complete
    assert seen == [(Decimal(0), True), (Decimal(1), True), (Decimal(2), False)]


def test_nobody_has_access_by_an_event_or_a_feature_no_plan_of_theirs_has(l24: FakeLotus, connect: Connect) -> None:
    l24.accounts.add_plan("Other", features=[Feature("export")])
    l24.accounts.add_subscription("c1", l24.accounts.add_plan("Pro", components=[Component("call")]))
    client = connect(l24)
    assert client.get_customer_access(customer_id="c1", event_name="other").access is False
    assert client.get_customer_access(customer_id="c1", feature_name="export").access is False
    with pytest.raises(NotFound):
        client.get_customer_access(customer_id="nobody", event_name="call")


def test_an_answer_that_does_not_say_is_an_error(connect: Connect) -> None:
    body = json.dumps(plans(component("much"))).encode()
    with ScriptedServer(says(200, body)) as server:
        client: Client = connect(server, api_version="2024")
        with pytest.raises(UnexpectedAnswer, match="does not say whether there is access"):
            client.get_customer_access(customer_id="c", event_name="call")
        client.release()
