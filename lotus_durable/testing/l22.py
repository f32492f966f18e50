"""The server of 2022-09: Django answers everything.

There is no ping, no verify_idems_received, no credits and no add-ons: they are 404 pages like any other path.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from typing import Any, ClassVar

from lotus_durable.testing.accounts import Component, Subscription, end_of_period
from lotus_durable.testing.database import Database, DatabaseOf2022
from lotus_durable.testing.exchange import Answer, Request
from lotus_durable.testing.forms import NO_FIELD, Refused
from lotus_durable.testing.generation import Blanks, Call, Generation


class L22(Generation):
    """Answers of 2022."""

    name = "L22"
    database: ClassVar[type[Database]] = DatabaseOf2022
    max_body = 2_621_440

    def admit(self, request: Request, methods: Collection[str]) -> None:
        self.find_or_redirect(request, methods)
        self.refuse_if(self.key_state(request) != "valid", "wrong key")
        self.refuse_if(request.method not in methods, "no such method", method=request.method)
        self.refuse_if((request.content_length or 0) > self.max_body_bytes, "track too large")

    def answer_to(self, refused: Refused) -> Answer:
        """By field, or one detail; a page for what nobody has caught."""
        if refused.status == 500:  # noqa: PLR2004
            return self.record.answer("server error")
        body: dict[str, Any] = {}
        for code, detail, attr in refused.errors:
            if code == "status":  # of the views that were no serializers yet
                return self.record.answer("refused with a status", refused.status, detail=detail)
            if refused.is_about_fields:
                body.setdefault(attr or NO_FIELD, []).append(detail)
            else:
                body["detail"] = detail
        return self.record.answer("refused", refused.status, body=body)

    def track(self, call: Call) -> Answer:
        """Store what the rules accept and name what they refuse.

        Nothing is checked before it is used: what is missing or strange ends in a 500 page, of which no event is taken.
        """
        loaded = _load(call.request)
        self.refuse_if(not loaded, "track empty object")
        batch = loaded["batch"] if isinstance(loaded, dict) and "batch" in loaded else loaded
        batch = [batch] if isinstance(batch, dict) else batch
        return self.verdict(self._failures(batch, call), of=len(batch))

    def _failures(self, batch: Any, call: Call) -> dict[Any, str]:  # noqa: ANN401  # nothing checks what it is
        failed: dict[Any, str] = {}
        accepted: dict[Any, dict[str, Any]] = {}
        repeated: list[Any] = []
        for event in batch:
            known = self.state.knows_customer(event["customer_id"])
            id_ = event["idempotency_id"]
            if not known:
                failed[id_] = "Customer does not exist"
            elif self.state.database.knows(id_, call.seen):
                failed[id_] = "Event idempotency already exists"
                repeated.append((id_, event))
            elif id_ in accepted:
                failed[id_] = "Duplicate event idempotency in request"
                repeated.append((id_, event))
            elif (reason := call.refuse(id_)) is not None:
                failed[id_] = reason
            else:
                accepted[id_] = {**event, "event_name": event["event_name"], "time_created": event["time_created"]}
        self.state.accept(list(accepted.items()), call.seen)
        for id_, event in repeated:
            self.state.receive(id_, event)
        return failed

    def create_customer(self, call: Call) -> Blanks:
        """Create a customer; whatever else is sent, ``currency`` too, is ignored without a word."""
        self.refuse_if(call.customer_id in self.accounts.customers, "create_customer same id")
        return {"customer": self.accounts.add_customer(call.customer_id, name=call.name)}

    def create_subscription(self, call: Call) -> Blanks:
        """Create a subscription, a second one too when the same is sent again: nothing looks for duplicates."""
        self.refuse_if(call.subscription_uid in self.accounts.subscriptions, "server error")
        subscription = Subscription(
            subscription_id=call.subscription_uid or str(uuid.uuid4()),
            customer=call.customer_id,
            plan=call.billing_plan_id,
            start=call.start_date,
            end=call.end_date or end_of_period(call.start_date, call.billing_plan_id.duration),
            auto_renew=call.auto_renew is not False,
            is_new=call.is_new is not False,
            # Nothing is ended at once, however long ago it began: a job does that later.
            status="active" if call.start_date <= self.accounts.now() else "not_started",
        )
        return {"subscription": self.accounts.keep(subscription)}

    def cancel_subscription(self, call: Call) -> Answer | None:
        """Cancel as often as it is asked: the second time is a success too, and makes a second invoice."""
        subscription = self.accounts.subscriptions.get(call.subscription_uid)
        if subscription is None:
            raise self.no("cancel unknown")
        self.refuse_if(subscription.status == "ended", "cancel ended")
        if subscription.status == "not_started":
            del self.accounts.subscriptions[subscription.subscription_id]
            return self.record.answer("cancel not started")
        subscription.auto_renew = False
        if call.revoke_access:
            subscription.status = "canceled"
        is_billed = call.revoke_access and call.bill_now is not False
        return self.record.answer("cancel revoke") if is_billed else None

    def customer_access(self, call: Call) -> Blanks | Answer:
        """Look at each component of this event, the last of each metric's name counts; without any there is access.

        ``usages`` is a list of nulls, one for each metric: the server fills it with what ``dict.update`` returns.
        """
        customer = self.accounts.customers.get(call.customer_id)
        self.refuse_if(customer is None, "access unknown customer")
        of_customer = (one for one in self.accounts.subscriptions.values() if one.customer is customer)
        active = [one for one in of_customer if one.status == "active"]
        if call.feature_name:
            features = {feature.feature_name for one in active for feature in one.plan.features}
            return self.record.answer("access by feature", access=call.feature_name in features)
        access = {
            component.name: self._has_access(component, one)
            for one in active
            for component in one.plan.components
            if component.event_name == call.event_name
        }
        return {"access": all(access.values()), "usages": [None] * len(access)}

    def _has_access(self, component: Component, subscription: Subscription) -> bool:
        if not component.limit:
            return True
        usage = self.state.usage(component, subscription)
        self.refuse_if(usage is None, "server error")  # it is looked up in an empty result
        return usage is not None and usage <= component.limit


def _load(request: Request) -> Any:  # noqa: ANN401  # nothing checks what it is
    """Return what the body holds; raises whatever Python does."""
    if request.headers.get("content-type") != "application/json":
        return request.body.decode()  # kept as text, which breaks further on
    return json.loads(b"" if request.content_length is None else request.body)  # WSGI: without a length there is none
