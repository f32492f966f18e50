"""Subscriptions and their add-ons of 2024."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from lotus_durable.testing.accounts import Subscription, end_of_period
from lotus_durable.testing.catalog import Plan, new_id
from lotus_durable.testing.forms import (
    Required,
    at_least,
    boolean,
    choice,
    id_in_path,
    integer,
    json_object,
    moment,
    named,
    objects,
)

if TYPE_CHECKING:
    from lotus_durable.testing.exchange import Answer
    from lotus_durable.testing.generation import Call, Generation, Views

PLAN = ("plan_", "addon_")
VERSION = ("plan_version_", "addon_version_")
INVOICING = choice("add_to_next_invoice", "invoice_now")
FIXED_CHARGES = objects("metric_id", "units")


class Subscriptions:
    """The views of these calls."""

    def __init__(self, server: Generation) -> None:
        self._no = server.no
        self._record = server.record
        self._accounts = server.accounts
        self._customer = named("customer_id", server.accounts.customers.get)
        self._plan = named("plan_id", lambda id_: self._offered(id_, addon=False), *PLAN)
        self._version = named("version_id", lambda id_: self._offered(id_, addon=False), *VERSION)
        self._addon = named("plan_id", lambda id_: self._offered(id_, addon=True), *PLAN)
        self._addon_version = named("version_id", lambda id_: self._offered(id_, addon=True), *VERSION)

    def views(self) -> Views:
        """Return the paths and their views."""
        one = "/api/subscriptions/{id}/"
        return {
            ("GET", "/api/subscriptions/"): self.list_subscriptions,
            ("POST", "/api/subscriptions/"): self.create,
            ("GET", one): self.get,
            ("POST", one + "cancel/"): self.cancel,
            ("POST", one + "update/"): self.update,
            ("POST", one + "switch_plan/"): self.switch_plan,
            ("POST", one + "addons/attach/"): self.attach_addon,
            ("POST", one + "addons/{id}/cancel/"): self.cancel_addon,
        }

    def list_subscriptions(self, call: Call) -> Answer:
        """List a customer's subscriptions and add-ons, the active ones unless ``status`` says otherwise."""
        asked = call.asked(
            {"status": choice("active", "ended", "not_started")},
            customer_id=Required(self._customer),
            plan_id=self._plan,
            range_start=moment,
            range_end=moment,
        )
        now = self._accounts.now()
        found = [
            one
            for one in self._accounts.subscriptions.values()
            if one.customer is asked.customer_id
            and asked.plan_id in {None, (one.parent or one).plan}
            and one.state(now) in (asked.status or ["active"])
            and (asked.range_start is None or one.end >= asked.range_start)
            and (asked.range_end is None or one.start <= asked.range_end)
        ]
        return self._record.answer("list_subscriptions", found=found)

    def get(self, call: Call) -> Answer:
        return self._record.answer("update_subscription", subscription=self._subscription(call))

    def create(self, call: Call) -> Answer:
        """Create a subscription unless one to the same plan overlaps it; ``auto_renew`` is read and ignored."""
        sent = call.sent(
            start_date=Required(moment),
            end_date=moment,
            auto_renew=boolean,
            is_new=boolean,
            subscription_filters=objects("property_name", "value"),
            customer_id=Required(self._customer),
            component_fixed_charges_initial_units=FIXED_CHARGES,
            metadata=json_object,
            plan_id=self._plan,
            version_id=self._version,
        )
        plan = sent.plan_id or sent.version_id
        filters = tuple((one["property_name"], one["value"]) for one in sent.subscription_filters or ())
        if plan is None or (sent.plan_id and sent.version_id):
            raise self._no("create_subscription plan or version")
        if not {name for name, _ in filters} <= self._accounts.filter_names:
            raise self._no("create_subscription version_id, metadata, filters")
        subscription = Subscription(
            subscription_id=new_id("sub_"),
            customer=sent.customer_id,
            plan=plan,
            start=sent.start_date,
            end=sent.end_date or end_of_period(sent.start_date, plan.duration),
            is_new=sent.is_new is not False,
            filters=filters,
            metadata=sent.metadata or {},
        )
        if subscription.end < self._accounts.now():
            raise self._no("create_subscription past, ended")
        self._refuse_overlap(subscription)
        return self._record.answer("create_subscription", subscription=self._accounts.keep(subscription))

    def cancel(self, call: Call) -> Answer:
        subscription = self._subscription(call)
        self._end(subscription, call)
        return self._record.answer("cancel default", subscription=subscription)

    def update(self, call: Call) -> Answer:
        subscription = self._subscription(call)
        sent = call.sent(turn_off_auto_renew=boolean, end_date=moment, metadata=json_object)
        if sent.end_date is not None and sent.end_date < self._accounts.now():
            raise self._no("update_subscription end in the past")
        subscription.end = sent.end_date or subscription.end
        subscription.auto_renew = subscription.auto_renew and not sent.turn_off_auto_renew
        subscription.metadata = subscription.metadata if sent.metadata is None else sent.metadata
        return self._record.answer("update_subscription", subscription=subscription)

    def switch_plan(self, call: Call) -> Answer:
        """End the subscription and go on with a new one and its add-ons; its usage is not taken along, ever."""
        old = self._subscription(call)
        sent = call.sent(
            switch_plan_id=self._plan,
            switch_plan_version_id=self._version,
            invoicing_behavior=INVOICING,
            usage_behavior=choice("transfer_to_new_subscription", "keep_separate"),
            component_fixed_charges_initial_units=FIXED_CHARGES,
        )
        chosen = sent.switch_plan_version_id or sent.switch_plan_id
        now = self._accounts.now()
        if chosen is None:
            raise self._no("switch to nothing")
        if chosen is old.plan:
            raise self._no("switch same plan")
        if chosen.duration != old.plan.duration:
            raise self._no("switch other duration")
        if old.end <= now:
            raise self._no("switch ended subscription")
        new = Subscription(
            subscription_id=new_id("sub_"),
            customer=old.customer,
            plan=chosen,
            start=now,
            end=old.end,
            auto_renew=old.auto_renew,
            filters=old.filters,
            metadata=old.metadata,
        )
        for addon in old.addons:
            addon.parent = new
        old.end = now
        return self._record.answer("switch transfer", subscription=self._accounts.keep(new))

    # ------------------------------------------------------------------ add-ons

    def attach_addon(self, call: Call) -> Answer:
        parent = self._subscription(call)
        sent = call.sent(
            addon_id=self._addon,
            addon_version_id=self._addon_version,
            quantity=at_least(1, integer),
            metadata=json_object,
        )
        chosen = sent.addon_id or sent.addon_version_id
        if chosen is None or (sent.addon_id and sent.addon_version_id):
            raise self._no("attach_addon addon or version")
        attached = Subscription(
            subscription_id=new_id("addon_sub_"),
            customer=parent.customer,
            plan=chosen,
            start=self._accounts.now(),
            end=parent.end,
            auto_renew=chosen.is_metered,
            metadata=sent.metadata or {},
            parent=parent,
        )
        self._refuse_overlap(attached)
        return self._record.answer("attach_addon flat", addon=self._accounts.keep(attached))

    def cancel_addon(self, call: Call) -> Answer:
        parent = self._subscription(call)
        wanted = id_in_path(call.ids[1], *VERSION, *PLAN)
        for attached in parent.addons:
            if attached.plan.plan_id.endswith(wanted) or attached.plan.version_id.endswith(wanted):
                self._end(attached, call)
                return self._record.answer("cancel_addon", addon=attached)
        raise self._no("cancel_addon unknown", addon_id=uuid.UUID(wanted), subscription_id=call.ids[0])

    # ------------------------------------------------------------------ what they share

    def _subscription(self, call: Call) -> Subscription:
        found = self._accounts.subscriptions.get("sub_" + id_in_path(call.ids[0], "sub_"))
        if found is None:
            raise self._no("cancel unknown", subscription_id=call.ids[0])
        return found

    def _offered(self, id_: str, *, addon: bool) -> Plan | None:
        plans = (plan for plan in self._accounts.plans.values() if plan.is_addon == addon)
        return next((plan for plan in plans if id_ in {plan.plan_id, plan.version_id}), None)

    def _end(self, subscription: Subscription, call: Call) -> None:
        sent = call.sent(
            flat_fee_behavior=choice("refund", "charge_prorated", "charge_full"),
            usage_behavior=choice("bill_full", "bill_none"),
            invoicing_behavior=INVOICING,
        )
        now = self._accounts.now()
        if subscription.end <= now:
            raise self._no("cancel again")
        if subscription.start > now:
            raise self._no("cancel not started")
        subscription.end = now
        subscription.auto_renew = False
        subscription.fully_billed = sent.invoicing_behavior != "add_to_next_invoice"

    def _refuse_overlap(self, new: Subscription) -> None:
        for old in self._accounts.subscriptions.values():
            if old.overlaps(new):
                raise self._no(
                    "create_subscription overlapping",
                    new=new,
                    new_dates=repr((new.start, new.end)),
                    new_filters=set(new.filters) or "set()",
                    old_dates=repr((old.start, old.end)),
                    old_filters=list(old.filters),
                )
