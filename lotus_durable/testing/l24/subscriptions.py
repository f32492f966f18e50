"""Subscriptions and their add-ons of 2024."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING

from lotus_durable.testing.accounts import Subscription, end_of_period
from lotus_durable.testing.catalog import Plan, new_id
from lotus_durable.testing.forms import id_in_path, named

if TYPE_CHECKING:
    from lotus_durable.testing.generation import Blanks, Call, Generation

PLAN = ("plan_", "addon_")
VERSION = ("plan_version_", "addon_version_")


class Subscriptions:
    """The views of these calls."""

    def __init__(self, server: Generation) -> None:
        self._no = server.no
        self._accounts = server.accounts
        for name, key, addon, prefixes in (
            ("plan", "plan_id", False, PLAN),
            ("version", "version_id", False, VERSION),
            ("addon", "plan_id", True, PLAN),
            ("addon_version", "version_id", True, VERSION),
        ):
            server.readers[name] = named(key, partial(self._offered, addon=addon), *prefixes)

    def list_subscriptions(self, call: Call) -> Blanks:
        """List a customer's subscriptions and add-ons, the active ones unless ``status`` says otherwise."""
        asked = call.sent
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
        return {"found": found}

    def get_subscription(self, call: Call) -> Blanks:
        return {"subscription": self._subscription(call)}

    def create_subscription(self, call: Call) -> Blanks:
        """Create a subscription unless one to the same plan overlaps it; ``auto_renew`` is read and ignored."""
        sent = call.sent
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
        return {"subscription": self._accounts.keep(subscription)}

    def cancel_subscription(self, call: Call) -> Blanks:
        subscription = self._subscription(call)
        self._end(subscription, call.sent.invoicing_behavior)
        return {"subscription": subscription}

    def update_subscription(self, call: Call) -> Blanks:
        subscription = self._subscription(call)
        sent = call.sent
        if sent.end_date is not None and sent.end_date < self._accounts.now():
            raise self._no("update_subscription end in the past")
        subscription.end = sent.end_date or subscription.end
        subscription.auto_renew = subscription.auto_renew and not sent.turn_off_auto_renew
        subscription.metadata = subscription.metadata if sent.metadata is None else sent.metadata
        return {"subscription": subscription}

    def switch_plan(self, call: Call) -> Blanks:
        """End the subscription and go on with a new one and its add-ons; its usage is not taken along, ever."""
        old = self._subscription(call)
        sent = call.sent
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
        return {"subscription": self._accounts.keep(new)}

    # ------------------------------------------------------------------ add-ons

    def attach_addon(self, call: Call) -> Blanks:
        parent = self._subscription(call)
        sent = call.sent
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
        return {"addon": self._accounts.keep(attached)}

    def cancel_addon(self, call: Call) -> Blanks:
        parent = self._subscription(call)
        wanted = id_in_path(call.ids[1], *VERSION, *PLAN)
        for attached in parent.addons:
            if attached.plan.plan_id.endswith(wanted) or attached.plan.version_id.endswith(wanted):
                self._end(attached, call.sent.invoicing_behavior)
                return {"addon": attached}
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

    def _end(self, subscription: Subscription, invoicing: str | None) -> None:
        now = self._accounts.now()
        if subscription.end <= now:
            raise self._no("cancel again")
        if subscription.start > now:
            raise self._no("cancel not started")
        subscription.end = now
        subscription.auto_renew = False
        subscription.fully_billed = invoicing != "add_to_next_invoice"

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
