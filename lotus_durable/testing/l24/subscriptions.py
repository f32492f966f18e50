"""Subscriptions and their add-ons of 2024."""

from __future__ import annotations

import uuid

from lotus_durable.testing.accounts import Subscription, end_of_period, new_id
from lotus_durable.testing.forms import hex_of
from lotus_durable.testing.generation import Blanks, Call, Generation


class Subscriptions(Generation):
    """The views of these calls."""

    def list_subscriptions(self, call: Call) -> Blanks:
        """List a customer's subscriptions and add-ons, the active ones unless ``status`` says otherwise."""
        now = self.accounts.now()
        found = [
            one
            for one in self.accounts.subscriptions.values()
            if one.customer is call.customer_id
            and call.plan_id in (None, (one.parent or one).plan)
            and one.state(now) in (call.status or ["active"])
            and (call.range_start is None or one.end >= call.range_start)
            and (call.range_end is None or one.start <= call.range_end)
        ]
        return {"found": found}

    def create_subscription(self, call: Call) -> Blanks:
        """Create a subscription unless one to the same plan overlaps it; ``auto_renew`` is read and ignored."""
        filters = tuple((one["property_name"], one["value"]) for one in call.subscription_filters or ())
        are_known = {name for name, _ in filters} <= self.accounts.filter_names
        self.refuse_if(not are_known, "create_subscription version_id, metadata, filters")
        subscription = Subscription(
            subscription_id=new_id("sub_"),
            customer=call.customer_id,
            plan=call.chosen,
            start=call.start_date,
            end=call.end_date or end_of_period(call.start_date, call.chosen.duration),
            is_new=call.is_new is not False,
            filters=filters,
            metadata=call.metadata or {},
        )
        self.refuse_if(subscription.end < self.accounts.now(), "create_subscription past, ended")
        return {"subscription": self._keep(subscription)}

    def cancel_subscription(self, call: Call) -> None:
        self._end(call.subscription, call.invoicing_behavior)

    def update_subscription(self, call: Call) -> None:
        subscription, end = call.subscription, call.end_date
        self.refuse_if(end is not None and end < self.accounts.now(), "update_subscription end in the past")
        subscription.end = end or subscription.end
        subscription.auto_renew = subscription.auto_renew and not call.turn_off_auto_renew
        subscription.metadata = subscription.metadata if call.metadata is None else call.metadata

    def switch_plan(self, call: Call) -> Blanks:
        """End the subscription and go on with a new one and its add-ons; its usage is not taken along, ever."""
        old, now = call.subscription, self.accounts.now()
        chosen = call.switch_plan_version_id or call.switch_plan_id
        self.refuse_if(chosen is None, "switch to nothing")
        self.refuse_if(chosen is old.plan, "switch same plan")
        self.refuse_if(chosen.duration != old.plan.duration, "switch other duration")
        self.refuse_if(old.end <= now, "switch ended subscription")
        new = Subscription(
            subscription_id=new_id("sub_"),
            customer=old.customer,
            plan=chosen,
            start=now,
            end=old.end,
            auto_renew=old.auto_renew,
            filters=old.filters,
            metadata=old.metadata,
            addons=old.addons,
        )
        for addon in new.addons:
            addon.parent = new
        old.end, old.addons = now, []
        return {"subscription": self.accounts.keep(new)}

    # ------------------------------------------------------------------ add-ons

    def attach_addon(self, call: Call) -> Blanks:
        attached = Subscription(
            subscription_id=new_id("addon_sub_"),
            customer=call.subscription.customer,
            plan=call.chosen,
            start=self.accounts.now(),
            end=call.subscription.end,
            auto_renew=bool(call.chosen.components),
            metadata=call.metadata or {},
            parent=call.subscription,
        )
        self._keep(attached)
        call.subscription.addons.append(attached)
        return {"addon": attached}

    def cancel_addon(self, call: Call) -> Blanks:
        wanted = hex_of(call.addon_id, "addon_version_", "plan_version_", "plan_", "addon_")
        for attached in call.subscription.addons:
            if attached.plan.plan_id.endswith(wanted) or attached.plan.version_id.endswith(wanted):
                self._end(attached, call.invoicing_behavior)
                return {"addon": attached}
        ids = {"addon_id": uuid.UUID(wanted), "subscription_id": call.subscription.subscription_id}
        raise self.no("cancel_addon unknown", **ids)

    # ------------------------------------------------------------------ what they share

    def _keep(self, new: Subscription) -> Subscription:
        for old in self.accounts.subscriptions.values():
            self.refuse_if(
                old.overlaps(new),
                "create_subscription overlapping",
                new=new,
                new_dates=repr((new.start, new.end)),
                new_filters=set(new.filters) or "set()",
                old_dates=repr((old.start, old.end)),
                old_filters=list(old.filters),
            )
        return self.accounts.keep(new)

    def _end(self, subscription: Subscription, invoicing: str | None) -> None:
        now = self.accounts.now()
        self.refuse_if(subscription.end <= now, "cancel again")
        self.refuse_if(subscription.start > now, "cancel not started")
        subscription.end = now
        subscription.auto_renew = False
        subscription.fully_billed = invoicing != "add_to_next_invoice"
