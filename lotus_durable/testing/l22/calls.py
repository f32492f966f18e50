"""The calls of 2022 beside track: customers, plans, subscriptions, access.

There is no ping, no verify_idems_received, no credits and no add-ons: they are 404 pages like any other path.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from lotus_durable.testing.accounts import Component, Customer, Plan, Subscription, end_of_period
from lotus_durable.testing.exchange import Answer, django_json, drf_json
from lotus_durable.testing.forms import Refused, invalid
from lotus_durable.testing.l22.track import server_error
from lotus_durable.testing.routing import Routes

if TYPE_CHECKING:
    from lotus_durable.testing.routing import Call
    from lotus_durable.testing.state import ServerState


def routes(state: ServerState) -> Routes:
    """Return the paths and their views, which work on ``state``."""
    calls = _Calls(state)
    return Routes(
        {
            "/api/customers/": {"GET": calls.list_customers, "POST": calls.create_customer},
            "/api/customers/{id}/": {"GET": calls.get_customer},
            "/api/plans/": {"GET": calls.list_plans},
            "/api/plans/{id}/": {"GET": calls.get_plan},
            "/api/subscriptions/": {"GET": calls.list_subscriptions, "POST": calls.create_subscription},
            "/api/cancel_subscription/": {"POST": calls.cancel_subscription},
            "/api/customer_access/": {"GET": calls.customer_access},
        }
    )


class _Calls:
    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._accounts = state.accounts

    # ------------------------------------------------------------------ customers and plans

    def list_customers(self, _call: Call) -> Answer:
        return drf_json(200, [_customer(customer) for customer in self._accounts.customers.values()])

    def get_customer(self, call: Call) -> Answer:
        customer = self._accounts.customers.get(call.ids[0])
        if customer is None:
            raise Refused(404, "not_found", "Not found.")
        return drf_json(200, _customer(customer))

    def create_customer(self, call: Call) -> Answer:
        """Create a customer; whatever else is sent, ``currency`` too, is ignored without a word."""
        form = call.form()
        customer_id = form.text("customer_id", required=True, max_length=40)
        name = form.text("name", required=True, max_length=100)
        form.check()
        assert customer_id is not None
        if customer_id in self._accounts.customers:
            raise Refused(409, "conflict", "Customer ID already exists")
        return drf_json(201, _customer(self._accounts.add_customer(customer_id, name=name)))

    def list_plans(self, _call: Call) -> Answer:
        return drf_json(200, [_plan(plan) for plan in self._accounts.plans.values()])

    def get_plan(self, call: Call) -> Answer:
        plan = self._accounts.plans.get(call.ids[0])
        if plan is None:
            raise Refused(404, "not_found", "Not found.")
        return drf_json(200, _plan(plan))

    # ------------------------------------------------------------------ subscriptions

    def list_subscriptions(self, _call: Call) -> Answer:
        subscriptions = self._accounts.subscriptions.values()
        return drf_json(200, [_whole_subscription(subscription) for subscription in subscriptions])

    def create_subscription(self, call: Call) -> Answer:
        """Create a subscription, a second one too when the same is sent again: nothing looks for duplicates."""
        form = call.form()
        customer = form.related("customer_id", self._accounts.customers.get, required=True)
        plan = form.related("billing_plan_id", self._accounts.plans.get, required=True)
        start = form.date("start_date", required=True)
        end = form.date("end_date")
        auto_renew, is_new = form.boolean("auto_renew", default=True), form.boolean("is_new", default=True)
        uid = form.text("subscription_uid")
        form.check()
        assert customer is not None
        assert plan is not None
        assert start is not None
        subscription = Subscription(
            subscription_id=uid or str(uuid.uuid4()),
            customer=customer,
            plan=plan,
            start=_midnight(start),
            end=_midnight(end) if end else end_of_period(_midnight(start), plan.duration),
            auto_renew=bool(auto_renew),
            is_new=bool(is_new),
            # Nothing is ended at once, however long ago it began: a job does that later.
            status="active" if start <= self._accounts.now().date() else "not_started",
        )
        self._accounts.subscriptions[subscription.subscription_id] = subscription
        return drf_json(201, _subscription(subscription))

    def cancel_subscription(self, call: Call) -> Answer:
        """Cancel as often as it is asked: the second time is a success too."""
        form = call.form()
        uid = form.text("subscription_uid", required=True)
        bill_now = form.boolean("bill_now", default=True)
        revoke_access = form.boolean("revoke_access", default=False)
        form.check()
        subscription = self._accounts.subscriptions.get(uid or "")
        if subscription is None:
            return django_json(400, {"status": "error", "detail": "Subscription not found"})
        if subscription.status == "ended":
            return django_json(400, {"status": "error", "detail": "Subscription already ended"})
        if subscription.status == "not_started":
            del self._accounts.subscriptions[subscription.subscription_id]
            return django_json(200, {"status": "success", "detail": "Subscription hadn't started, has been deleted"})
        subscription.auto_renew = False
        if revoke_access:
            subscription.status = "canceled"
        if bill_now and revoke_access:
            detail = "Created invoice and payment intent for subscription"
            return django_json(201, {"status": "success", "detail": detail})
        detail = "Subscription ended without generating invoice"
        return django_json(200, {"status": "success", "detail": detail})

    # ------------------------------------------------------------------ access

    def customer_access(self, call: Call) -> Answer:
        query = call.query()
        customer_id = query.text("customer_id", required=True)
        event_name, feature_name = query.text("event_name"), query.text("feature_name")
        query.check()
        if not event_name and not feature_name:
            raise invalid("Must provide either event_name or feature_name")
        if event_name and feature_name:
            raise invalid("Cannot provide both event_name and feature_name")
        customer = self._accounts.customers.get(customer_id or "")
        if customer is None:
            return django_json(400, {"status": "error", "detail": "Customer not found"})
        subscriptions = [
            subscription
            for subscription in self._accounts.subscriptions.values()
            if subscription.customer is customer and subscription.status == "active"
        ]
        if event_name:
            return self._event_access(subscriptions, event_name)
        features = {feature.feature_name for subscription in subscriptions for feature in subscription.plan.features}
        return django_json(200, {"access": feature_name in features})

    def _event_access(self, subscriptions: list[Subscription], event_name: str) -> Answer:
        """Look at each component of this event, the last of each metric's name counts.

        A limit with no usage yet is looked up in an empty result and ends in a 500 page. ``usages`` is a list of
        nulls, one for each metric: the server fills it with what ``dict.update`` returns. A customer who has no such
        component has access.
        """
        access: dict[str, bool] = {}
        for subscription in subscriptions:
            for component in subscription.plan.components:
                if component.event_name != event_name:
                    continue
                if not component.limit:
                    access[component.name] = True
                    continue
                if not self._state.usage.events_of(component, subscription):
                    return server_error()
                access[component.name] = self._state.usage.measure(component, subscription) <= component.limit
        return django_json(200, {"access": all(access.values()), "usages": [None] * len(access)})


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(tzinfo=UTC))


def _customer(customer: Customer) -> dict[str, Any]:
    return {"name": customer.name, "customer_id": customer.customer_id, "balance": "0.0000000000"}


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "time_created": None,
        "currency": plan.currency,
        "interval": plan.duration,
        "flat_rate": "0.0000000000",
        "pay_in_advance": True,
        "billing_plan_id": plan.plan_id,
        "name": plan.plan_name,
        "description": "",
        "components": [_component(component) for component in plan.components],
        "features": [asdict(feature) for feature in plan.features],
    }


def _component(component: Component) -> dict[str, Any]:
    metric = {
        "id": component.metric_id,
        "event_name": component.event_name,
        "property_name": component.property_name or "",
        "aggregation_type": "sum" if component.property_name else "count",
        "billable_metric_name": component.name,
    }
    return {"billable_metric": metric, "max_metric_units": component.limit}


def _subscription(subscription: Subscription) -> dict[str, Any]:
    return {
        "customer_id": subscription.customer.customer_id,
        "billing_plan_id": subscription.plan.plan_id,
        "start_date": subscription.start.date().isoformat(),
        "end_date": subscription.end.date().isoformat(),
        "status": subscription.status,
        "auto_renew": subscription.auto_renew,
        "is_new": subscription.is_new,
        "subscription_uid": subscription.subscription_id,
    }


def _whole_subscription(subscription: Subscription) -> dict[str, Any]:
    return {
        "customer": _customer(subscription.customer),
        "billing_plan": _plan(subscription.plan),
        "start_date": subscription.start.date().isoformat(),
        "end_date": subscription.end.date().isoformat(),
        "status": subscription.status,
    }
