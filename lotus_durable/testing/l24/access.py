"""Access, ping and verify_idems_received of 2024."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from lotus_durable.testing.accounts import Customer, Subscription
from lotus_durable.testing.catalog import Component
from lotus_durable.testing.forms import FieldError, Refused, named
from lotus_durable.testing.generation import json_of
from lotus_durable.testing.state import NotANumber, time_of

if TYPE_CHECKING:
    from lotus_durable.testing.exchange import Answer
    from lotus_durable.testing.generation import Blanks, Call, Generation

HASH_NAMESPACE = uuid.UUID("904c0cfb-0b1c-4b1c-8b1c-3a1c0b1c0b1c")


class Access:
    """The views of these calls."""

    def __init__(self, server: Generation) -> None:
        self._no = server.no
        self._record = server.record
        self._state = server.state
        self._accounts = server.accounts
        self._hash_verified_ids = server.hash_verified_ids
        server.readers["metric"] = named("metric_id", server.accounts.metric, "metric_")
        server.readers["feature"] = named("feature_id", server.accounts.feature, "feature_")

    def ping(self, _call: Call) -> Blanks:
        return {"organization_id": self._accounts.organization_id}

    # ------------------------------------------------------------------ by name: an entry for each, add-ons too

    def customer_metric_access(self, call: Call) -> Blanks:
        asked = call.sent
        if asked.event_name and asked.metric_id:
            raise self._no("access both")
        if not asked.event_name and not asked.metric_id:
            raise self._no("access neither")
        found = [
            {
                "subscription": one,
                "components": [
                    {"component": component, "usage": self._usage(component, one) or 0}
                    for component in one.plan.components
                    if component.event_name == asked.event_name
                    or (asked.metric_id and component.metric_id == asked.metric_id.metric_id)
                ],
            }
            for one in self._asked_for(asked.customer_id, call)
        ]
        return {"found": found}

    def customer_feature_access(self, call: Call) -> Blanks:
        asked = call.sent
        found = [
            {"subscription": one, "access": asked.feature_name in {each.feature_name for each in one.plan.features}}
            for one in self._asked_for(asked.customer_id, call)
        ]
        return {"feature_name": asked.feature_name, "found": found}

    # ------------------------------------------------------------------ by id: one answer

    def metric_access(self, call: Call) -> Blanks:
        """Access: some subscription is below its limit, or has none; one without this metric counts as that too."""
        asked = call.sent
        customer, metric = asked.customer_id, asked.metric_id
        found = [self._metric_in(one, metric) for one in self._asked_for(asked.customer_id, call) if one.parent is None]
        access = any(one["access"] for one in found)
        return {"customer": customer, "metric": metric, "access": access, "found": found}

    def feature_access(self, call: Call) -> Blanks:
        asked = call.sent
        customer, feature = asked.customer_id, asked.feature_id
        found = [
            {"subscription": one, "access": any(feature in part.plan.features for part in self._with_addons(one))}
            for one in self._asked_for(asked.customer_id, call)
            if one.parent is None
        ]
        access = any(one["access"] for one in found)
        return {"customer": customer, "feature": feature, "access": access, "found": found}

    # ------------------------------------------------------------------ verify_idems_received

    def verify_idems_received(self, call: Call) -> Blanks | Answer:
        """Say which ids are not found among the events of the last days.

        A ``customer_id`` or a single text ends in a 500, as on the server. With ``hash_verified_ids`` it answers a
        UUID for each id asked for, found or not: the newest sources compare hashes with ids there.
        """
        data = json_of(call.request)
        ids = data.get("idempotency_ids") if isinstance(data, dict) else None
        if ids is None:
            return self._record.answer("verify none")
        if data.get("customer_id"):
            raise self._no("verify customer_id")
        lookback = data.get("number_days_lookback", 30)
        if not isinstance(lookback, int) or not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
            raise self._no("verify one text")
        if self._hash_verified_ids:
            missing = [str(uuid.uuid5(HASH_NAMESPACE, id_)) for id_ in dict.fromkeys(ids)]
        else:
            oldest = self._accounts.now() - timedelta(days=lookback)
            too_old = {event["idempotency_id"] for event in self._state.received.events if time_of(event) < oldest}
            missing = [id_ for id_ in dict.fromkeys(ids) if id_ in too_old or not self._state.database.holds(id_)]
        return {"missing": missing}

    # ------------------------------------------------------------------ what they share

    def _asked_for(self, customer: Customer, call: Call) -> list[Subscription]:
        wanted = _wanted_filters(call)
        return [one for one in self._accounts.active_of(customer) if wanted <= set(one.filters)]

    def _usage(self, component: Component, subscription: Subscription) -> Decimal | None:
        try:
            return self._state.usage(component, subscription)
        except NotANumber:
            raise self._no("access after text in a summed property") from None

    def _with_addons(self, subscription: Subscription) -> list[Subscription]:
        now = self._accounts.now()
        return [subscription, *(addon for addon in subscription.addons if addon.is_active(now))]

    def _metric_in(self, subscription: Subscription, metric: Component) -> Blanks:
        for part in self._with_addons(subscription):
            for component in part.plan.components:
                if component.metric_id == metric.metric_id:
                    usage = self._usage(component, part) or Decimal(0)
                    return {
                        "subscription": subscription,
                        # No limit and a limit of zero are both no limit to the server.
                        "access": not component.total or usage < component.total,
                        "usage": usage,
                        "free": component.free or Decimal(0),
                        "total": component.total,
                    }
        nothing = dict.fromkeys(("usage", "free", "total"), Decimal(0))
        return {"subscription": subscription, "access": True, **nothing}


def _wanted_filters(call: Call) -> set[tuple[str, str]]:
    """Read ``subscription_filters`` as Django REST framework reads a list of objects in a query.

    As ``subscription_filters[0]property_name=…&subscription_filters[0]value=…``; the JSON in text that the server's
    own documentation asks for is ignored.
    """
    query = parse_qs(call.request.query)
    found: list[tuple[str, str]] = []
    while True:
        start = f"subscription_filters[{len(found)}]"
        name, value = query.get(f"{start}property_name"), query.get(f"{start}value")
        if not (name or value):
            return set(found)
        if not (name and value):
            error = FieldError("required", "This field is required.", "subscription_filters")
            raise Refused(400, error, is_about_fields=True)
        found.append((name[-1], value[-1]))
