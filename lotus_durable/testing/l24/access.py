"""Access, ping and verify_idems_received of 2024.

The four access endpoints check the key themselves and say what is wrong with it as text (400).
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from lotus_durable.testing.exchange import Answer, drf_json
from lotus_durable.testing.forms import crash, invalid
from lotus_durable.testing.l24 import shapes

if TYPE_CHECKING:
    from lotus_durable.testing.accounts import Component, Customer, Subscription
    from lotus_durable.testing.forms import Form
    from lotus_durable.testing.routing import Call, View
    from lotus_durable.testing.state import ServerState

TEXT_KEY_ERRORS = {
    "/api/customer_metric_access/",
    "/api/customer_feature_access/",
    "/api/metric_access/",
    "/api/feature_access/",
}
HASH_NAMESPACE = uuid.UUID("904c0cfb-0b1c-4b1c-8b1c-3a1c0b1c0b1c")


def views(state: ServerState, *, hash_verified_ids: bool) -> dict[str, dict[str, View]]:
    """Return the paths of these calls."""
    calls = _Calls(state, hash_verified_ids=hash_verified_ids)
    return {
        "/api/ping/": {"GET": calls.ping},
        "/api/verify_idems_received/": {"POST": calls.verify_idems_received},
        "/api/customer_metric_access/": {"GET": calls.customer_metric_access},
        "/api/customer_feature_access/": {"GET": calls.customer_feature_access},
        "/api/metric_access/": {"GET": calls.metric_access},
        "/api/feature_access/": {"GET": calls.feature_access},
    }


class _Calls:
    def __init__(self, state: ServerState, *, hash_verified_ids: bool) -> None:
        self._state = state
        self._accounts = state.accounts
        self._hash_verified_ids = hash_verified_ids

    def ping(self, _call: Call) -> Answer:
        return drf_json(200, {"organization_id": self._accounts.organization_id})

    # ------------------------------------------------------------------ by name: one entry per subscription

    def customer_metric_access(self, call: Call) -> Answer:
        query = call.query()
        customer = self._customer(query)
        event_name = query.text("event_name")
        metric = query.related("metric_id", self._accounts.metric, prefix="metric_")
        query.check()
        if event_name and metric:
            raise invalid("event_name and metric_id are mutually exclusive. Please only provide one.")
        if not event_name and not metric:
            raise invalid("You must provide either an event_name or a metric_id.")
        return drf_json(
            200,
            [
                {
                    "plan_id": one.plan.plan_id,
                    "subscription_filters": shapes.filters(one),
                    "usage_per_component": [
                        self._component_usage(component, one)
                        for component in one.plan.components
                        if component.event_name == event_name or component == metric
                    ],
                }
                for one in self._subscriptions(customer, call)
            ],
        )

    def customer_feature_access(self, call: Call) -> Answer:
        query = call.query()
        customer = self._customer(query)
        feature_name = query.text("feature_name", required=True)
        query.check()
        return drf_json(
            200,
            [
                {
                    "feature_name": feature_name,
                    "plan_id": one.plan.plan_id,
                    "subscription_filters": shapes.filters(one),
                    "access": any(feature.feature_name == feature_name for feature in one.plan.features),
                }
                for one in self._subscriptions(customer, call)
            ],
        )

    # ------------------------------------------------------------------ by id: one answer

    def metric_access(self, call: Call) -> Answer:
        """Access: some subscription is below its limit, or has none; one without this metric counts as that too."""
        query = call.query()
        customer = self._customer(query)
        metric = query.related("metric_id", self._accounts.metric, required=True, prefix="metric_")
        query.check()
        assert customer is not None
        assert metric is not None
        each = [self._metric_in(one, metric) for one in self._subscriptions(customer, call)]
        return drf_json(
            200,
            {
                "customer": shapes.customer_brief(customer),
                "access": any(_is_below(one["metric_usage"], one["metric_total_limit"]) for one in each),
                "metric": shapes.metric_brief(metric),
                "access_per_subscription": [
                    {
                        **one,
                        "metric_usage": shapes.decimal(one["metric_usage"]),
                        "metric_free_limit": shapes.decimal(one["metric_free_limit"]),
                        "metric_total_limit": shapes.decimal(one["metric_total_limit"]),
                    }
                    for one in each
                ],
            },
        )

    def feature_access(self, call: Call) -> Answer:
        query = call.query()
        customer = self._customer(query)
        feature = query.related("feature_id", self._accounts.feature, required=True, prefix="feature_")
        query.check()
        assert customer is not None
        assert feature is not None
        each = [
            {
                "subscription": _subscription(one),
                "access": any(feature in part.plan.features for part in self._with_addons(one)),
            }
            for one in self._subscriptions(customer, call)
        ]
        return drf_json(
            200,
            {
                "customer": shapes.customer_brief(customer),
                "access": any(one["access"] for one in each),
                "feature": asdict(feature),
                "access_per_subscription": each,
            },
        )

    # ------------------------------------------------------------------ verify_idems_received

    def verify_idems_received(self, call: Call) -> Answer:
        """Say which ids are not found among the events of the last days.

        A ``customer_id`` or a single text ends in a 500, as on the server. With ``hash_verified_ids`` it answers a
        UUID for each id asked for, found or not: the newest sources compare hashes with ids there.
        """
        data = call.json()
        ids = data.get("idempotency_ids") if isinstance(data, dict) else None
        if ids is None:
            return drf_json(400, {"status": "failure", "error": "idempotency_ids is required"})
        lookback = data.get("number_days_lookback", 30)
        if data.get("customer_id") or not isinstance(lookback, int) or not _are_texts(ids):
            raise crash()
        if self._hash_verified_ids:
            missing = [str(uuid.uuid5(HASH_NAMESPACE, id_)) for id_ in dict.fromkeys(ids)]
        else:
            found = self._found_since(self._accounts.now() - timedelta(days=lookback))
            missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in found]
        return drf_json(200, {"status": "success", "ids_not_found": missing})

    def _found_since(self, oldest: datetime) -> set[str]:
        ledger = self._state.ledger
        if not ledger.keeps_events:  # only ids are known: the lookback is not
            return set(ledger.times_received())
        return {
            event["idempotency_id"]
            for event in ledger.events()
            if datetime.fromisoformat(event["time_created"]) >= oldest
        }

    # ------------------------------------------------------------------ what they share

    def _customer(self, query: Form) -> Customer | None:
        return query.related("customer_id", self._accounts.customers.get, required=True)

    def _subscriptions(self, customer: Customer | None, call: Call) -> list[Subscription]:
        assert customer is not None
        wanted = _wanted_filters(call)
        return [one for one in self._accounts.subscriptions_of(customer) if wanted <= set(one.filters)]

    def _component_usage(self, component: Component, subscription: Subscription) -> dict[str, Any]:
        return {
            **shapes.metric_brief(component),
            "metric_usage": self._state.usage.measure(component, subscription),
            "metric_free_limit": shapes.decimal(component.free_limit),
            "metric_total_limit": shapes.decimal(component.limit),
        }

    def _with_addons(self, subscription: Subscription) -> list[Subscription]:
        now = self._accounts.now()
        attached = [addon for addon in self._accounts.addons_of(subscription) if addon.is_active(now)]
        return [subscription, *attached]

    def _metric_in(self, subscription: Subscription, metric: Component) -> dict[str, Any]:
        found: dict[str, Any] = {"metric_usage": 0, "metric_free_limit": 0, "metric_total_limit": 0}
        for part in self._with_addons(subscription):
            if metric in part.plan.components:
                found = {
                    "metric_usage": self._state.usage.measure(metric, part),
                    "metric_free_limit": metric.free_limit or 0,
                    "metric_total_limit": metric.limit,
                }
                break
        return {"subscription": _subscription(subscription), **found}


def _are_texts(ids: object) -> bool:
    return isinstance(ids, list) and all(isinstance(id_, str) for id_ in ids)


def _is_below(usage: float, limit: float | None) -> bool:
    """Compare as the server does: no limit and a limit of zero are both no limit."""
    return not limit or usage < limit


def _subscription(one: Subscription) -> dict[str, Any]:
    return {
        "start_date": shapes.moment(one.start),
        "end_date": shapes.moment(one.end),
        "subscription_filters": shapes.filters(one),
        "plan": shapes.plan_brief(one.plan),
    }


def _wanted_filters(call: Call) -> set[tuple[str, str]]:
    """Read ``subscription_filters`` as Django REST framework reads a list of objects in a query.

    As ``subscription_filters[0]property_name=…&subscription_filters[0]value=…``; the JSON in text that the server's
    own documentation asks for is ignored.
    """
    found: list[tuple[str, str]] = []
    while True:
        start = f"subscription_filters[{len(found)}]"
        name, value = call.query_list(f"{start}property_name"), call.query_list(f"{start}value")
        if not (name or value):
            return set(found)
        if not (name and value):
            raise invalid("This field is required.", "subscription_filters", "required")
        found.append((name[-1], value[-1]))
