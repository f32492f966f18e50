"""Access and verify_idems_received of 2024."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from urllib.parse import parse_qs

from lotus_durable.testing.accounts import Component, Subscription
from lotus_durable.testing.database import time_of
from lotus_durable.testing.forms import Refused, error
from lotus_durable.testing.generation import Blanks, Call, Generation, json_of


class Access(Generation):
    """The views of these calls."""

    def customer_metric_access(self, call: Call) -> Blanks:
        found = [
            {
                "subscription": one,
                "components": [
                    {"component": component, "usage": self._usage(component, one) or 0}
                    for component in one.plan.components
                    if component.event_name == call.event_name
                    or (call.metric_id and component.metric_id == call.metric_id.metric_id)
                ],
            }
            for one in self._asked_for(call)
        ]
        return {"found": found}

    def customer_feature_access(self, call: Call) -> Blanks:
        found = [
            {"subscription": one, "access": call.feature_name in {each.feature_name for each in one.plan.features}}
            for one in self._asked_for(call)
        ]
        return {"found": found}

    def metric_access(self, call: Call) -> Blanks:
        """Access: some subscription is below its limit, or has none; one without this metric counts as that too."""
        found = [self._metric_in(one, call.metric_id) for one in self._asked_for(call) if one.parent is None]
        return {"access": any(one["access"] for one in found), "found": found}

    def feature_access(self, call: Call) -> Blanks:
        found = [
            {"subscription": one, "access": any(call.feature_id in part.plan.features for part in self._parts(one))}
            for one in self._asked_for(call)
            if one.parent is None
        ]
        return {"access": any(one["access"] for one in found), "found": found}

    def verify_idems_received(self, call: Call) -> Blanks:
        """Say which ids are not found among the events of the last days."""
        data = json_of(call.request)
        ids = data.get("idempotency_ids") if isinstance(data, dict) else None
        self.refuse_if(ids is None, "verify none")
        self.refuse_if(data.get("customer_id"), "verify customer_id")
        lookback = data.get("number_days_lookback", 30)
        if not isinstance(lookback, int) or not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
            raise self.no("verify one text")
        oldest = self.accounts.now() - timedelta(days=lookback)
        too_old = {event["idempotency_id"] for event in self.state.events if time_of(event) < oldest}
        holds = self.state.database.holds
        return {"missing": [id_ for id_ in dict.fromkeys(ids) if id_ in too_old or not holds(id_)]}

    def _asked_for(self, call: Call) -> list[Subscription]:
        """Return the customer's active ones with ``subscription_filters``, read as Django REST framework does."""
        # The JSON in text that the server's own documentation asks for is ignored.
        query = parse_qs(call.request.query)
        wanted: set[tuple[str, str]] = set()
        for i in range(len(query)):
            name, value = (query.get(f"subscription_filters[{i}]{part}") for part in ("property_name", "value"))
            if name and value:
                wanted.add((name[-1], value[-1]))
            elif name or value:
                wrong = error("required")._replace(attr="subscription_filters")
                raise Refused(400, wrong, is_about_fields=True)
        return [one for one in self.accounts.active_of(call.customer_id) if wanted <= set(one.filters)]

    def _usage(self, component: Component, subscription: Subscription) -> Decimal | None:
        try:
            return self.state.usage(component, subscription)
        except TypeError:
            raise self.no("access after text in a summed property") from None

    def _parts(self, subscription: Subscription) -> list[Subscription]:
        """Return it and what is attached to it now."""
        now = self.accounts.now()
        return [subscription, *(addon for addon in subscription.addons if addon.is_active(now))]

    def _metric_in(self, subscription: Subscription, metric: Component) -> Blanks:
        for part in self._parts(subscription):
            for component in part.plan.components:
                if component.metric_id == metric.metric_id:
                    usage, limit = self._usage(component, part) or Decimal(0), component.limit
                    # No limit and a limit of zero are both no limit to the server.
                    access = not limit or usage < Decimal(str(limit))
                    found = {"access": access, "usage": usage, "free": component.free_limit or 0, "total": limit}
                    return {"subscription": subscription, **found}
        return {"subscription": subscription, "access": True, "usage": Decimal(0), "free": 0, "total": 0}
