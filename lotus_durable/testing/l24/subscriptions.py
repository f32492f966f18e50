"""Subscriptions and their add-ons of 2024."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lotus_durable.testing.accounts import Plan, Subscription, end_of_period, new_id
from lotus_durable.testing.exchange import Answer, drf_json
from lotus_durable.testing.forms import Refused, check_id, invalid
from lotus_durable.testing.l24 import shapes

if TYPE_CHECKING:
    from datetime import datetime

    from lotus_durable.testing.accounts import Accounts, Customer
    from lotus_durable.testing.forms import Form
    from lotus_durable.testing.routing import Call, View

STATUSES = ("active", "ended", "not_started")
INVOICING = ("add_to_next_invoice", "invoice_now")
TRANSFER = "transfer_to_new_subscription"


def views(accounts: Accounts) -> dict[str, dict[str, View]]:
    """Return the paths of these calls."""
    calls = _Calls(accounts)
    one = "/api/subscriptions/{id}/"
    return {
        "/api/subscriptions/": {"GET": calls.list_subscriptions, "POST": calls.create},
        one: {"GET": calls.get},
        one + "cancel/": {"POST": calls.cancel},
        one + "update/": {"POST": calls.update},
        one + "switch_plan/": {"POST": calls.switch_plan},
        one + "addons/attach/": {"POST": calls.attach_addon},
        one + "addons/{id}/cancel/": {"POST": calls.cancel_addon},
    }


class _Calls:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def list_subscriptions(self, call: Call) -> Answer:
        """List a customer's subscriptions, the active ones unless ``status`` says otherwise."""
        query = call.query()
        customer = query.related("customer_id", self._accounts.customers.get, required=True)
        plan = query.related("plan_id", self._plan, prefix="plan_")
        range_start, range_end = query.datetime("range_start"), query.datetime("range_end")
        wanted = call.query_list("status") or ["active"]
        for status in wanted:
            if status not in STATUSES:
                query.fail("status", f'"{status}" is not a valid choice.', "invalid_choice")
        query.check()
        found = [
            shapes.subscription(one, self._accounts)
            for one in self._accounts.subscriptions.values()
            if one.customer is customer
            and one.parent is None
            and plan in {None, one.plan}
            and self._status(one) in wanted
            and (range_start is None or one.end >= range_start)
            and (range_end is None or one.start <= range_end)
        ]
        return drf_json(200, found)

    def get(self, call: Call) -> Answer:
        return self._answer(self._subscription(call))

    def create(self, call: Call) -> Answer:
        """Create a subscription unless one to the same plan overlaps it."""
        form = call.form()
        customer = form.related("customer_id", self._accounts.customers.get, required=True)
        start, end = form.datetime("start_date", required=True), form.datetime("end_date")
        auto_renew, is_new = form.boolean("auto_renew", default=True), form.boolean("is_new", default=True)
        filters = form.objects("subscription_filters", "property_name", "value")
        form.objects("component_fixed_charges_initial_units", "metric_id", "units")
        metadata = form.json_object("metadata")
        plan = self._chosen_plan(form)
        form.check()
        if plan is None:
            raise invalid("You must specify exactly one of plan_id or version_id")
        assert customer is not None
        assert start is not None
        subscription = Subscription(
            subscription_id=new_id("sub_"),
            customer=customer,
            plan=plan,
            start=start,
            end=end or end_of_period(start, plan.duration),
            auto_renew=bool(auto_renew),
            is_new=bool(is_new),
            filters=tuple((one["property_name"], one["value"]) for one in filters),
            metadata=metadata or {},
        )
        if subscription.end < self._accounts.now():
            raise invalid(
                "End date cannot be in the past. For historical backfilling of subscriptions, please contact support.",
                attr=None,
            )
        self._refuse_overlap(subscription)
        self._accounts.subscriptions[subscription.subscription_id] = subscription
        return self._answer(subscription, status=201)

    def cancel(self, call: Call) -> Answer:
        subscription = self._subscription(call)
        _read_cancellation(call.form())
        self._end(subscription)
        return self._answer(subscription)

    def update(self, call: Call) -> Answer:
        subscription = self._subscription(call)
        form = call.form()
        turn_off, end = form.boolean("turn_off_auto_renew"), form.datetime("end_date")
        metadata = form.json_object("metadata")
        form.check()
        if end is not None and end < self._accounts.now():
            raise invalid("Cannot set end date to a date in the past.")
        subscription.end = end or subscription.end
        subscription.auto_renew = subscription.auto_renew and not turn_off
        subscription.metadata = subscription.metadata if metadata is None else metadata
        return self._answer(subscription)

    def switch_plan(self, call: Call) -> Answer:
        """End the subscription and go on with a new one, with its usage or without."""
        old = self._subscription(call)
        form = call.form()
        plan = form.related("switch_plan_id", self._plan, prefix="plan_")
        version = form.related("switch_plan_version_id", self._version, prefix="plan_version_")
        form.choice("invoicing_behavior", INVOICING)
        usage = form.choice("usage_behavior", (TRANSFER, "keep_separate"), TRANSFER)
        form.objects("component_fixed_charges_initial_units", "metric_id", "units")
        form.check()
        chosen = version or plan
        if chosen is None:
            raise invalid("Must specify either plan or plan_version.")
        if chosen is old.plan:
            raise invalid("Cannot switch to the same plan.", attr=None)
        if chosen.duration != old.plan.duration:
            raise invalid("Cannot switch to a plan with a different duration.", attr=None)
        now = self._accounts.now()
        new = Subscription(
            subscription_id=new_id("sub_"),
            customer=old.customer,
            plan=chosen,
            start=now,
            end=old.end,
            auto_renew=old.auto_renew,
            is_new=False,
            filters=old.filters,
            metadata=old.metadata,
            usage_start=(old.usage_start or old.start) if usage == TRANSFER else None,
        )
        for addon in self._accounts.addons_of(old):
            addon.parent = new
        old.end = now
        self._accounts.subscriptions[new.subscription_id] = new
        return self._answer(new)

    # ------------------------------------------------------------------ add-ons

    def attach_addon(self, call: Call) -> Answer:
        parent = self._subscription(call)
        form = call.form()
        addon = form.related("addon_id", self._addon, prefix="addon_")
        version = form.related("addon_version_id", self._addon_version, prefix="addon_version_")
        form.integer("quantity", default=1, minimum=1)
        metadata = form.json_object("metadata")
        form.check()
        if (addon is None) == (version is None):
            raise invalid("You must specify exactly one of addon_id or addon_version_id")
        chosen = addon or version
        assert chosen is not None
        attached = Subscription(
            subscription_id=new_id("addon_sub_"),
            customer=parent.customer,
            plan=chosen,
            start=self._accounts.now(),
            end=parent.end,
            metadata=metadata or {},
            parent=parent,
        )
        self._accounts.subscriptions[attached.subscription_id] = attached
        return drf_json(201, shapes.addon_subscription(attached, self._accounts))

    def cancel_addon(self, call: Call) -> Answer:
        parent = self._subscription(call)
        wanted = _addon_id(call.ids[1])
        for attached in self._accounts.addons_of(parent):
            if wanted in {attached.plan.plan_id, attached.plan.version_id}:
                _read_cancellation(call.form())
                self._end(attached)
                return drf_json(200, shapes.addon_subscription(attached, self._accounts))
        detail = f"Addon with addon_id {call.ids[1]} not found for subscription {call.ids[0]}"
        raise Refused(404, "resource_not_found", detail)

    # ------------------------------------------------------------------ what they share

    def _answer(self, subscription: Subscription, status: int = 200) -> Answer:
        return drf_json(status, shapes.subscription(subscription, self._accounts))

    def _subscription(self, call: Call) -> Subscription:
        found = self._accounts.subscriptions.get(check_id(call.ids[0], "sub_"))
        if found is None:
            detail = f"Subscription with subscription_id {call.ids[0]} not found"
            raise Refused(404, "resource_not_found", detail)
        return found

    def _chosen_plan(self, form: Form) -> Plan | None:
        """Return the plan when exactly one of its two ids names one."""
        plan = form.related("plan_id", self._plan, prefix="plan_")
        version = form.related("version_id", self._version, prefix="plan_version_")
        return None if plan and version else plan or version

    def _plan(self, plan_id: str) -> Plan | None:
        plan = self._accounts.plans.get(plan_id)
        return None if plan is None or plan.is_addon else plan

    def _version(self, version_id: str) -> Plan | None:
        plan = self._accounts.version(version_id)
        return None if plan is None or plan.is_addon else plan

    def _addon(self, addon_id: str) -> Plan | None:
        plan = self._accounts.plans.get(addon_id)
        return plan if plan is not None and plan.is_addon else None

    def _addon_version(self, version_id: str) -> Plan | None:
        plan = self._accounts.version(version_id)
        return plan if plan is not None and plan.is_addon else None

    def _status(self, subscription: Subscription) -> str:
        now = self._accounts.now()
        if subscription.start > now:
            return "not_started"
        return "active" if subscription.is_active(now) else "ended"

    def _end(self, subscription: Subscription) -> None:
        now = self._accounts.now()
        if subscription.end <= now:
            raise Refused(400, "invalid_state", "Subscription has already ended.")
        subscription.end = now
        subscription.auto_renew = False

    def _refuse_overlap(self, new: Subscription) -> None:
        for old in self._accounts.subscriptions.values():
            if (
                _same_plan(old, new.customer, new.plan)
                and _overlaps(old, new.start, new.end)
                and (not old.filters or not new.filters or set(old.filters) == set(new.filters))
            ):
                detail = (
                    "Overlapping subscriptions with the same filters are not allowed. \n "
                    f"Plan: {new.plan.plan_name} \n Customer: {new.customer.customer_id}."
                )
                raise Refused(400, "overlapping_plans", detail)


def _same_plan(old: Subscription, customer: Customer, plan: Plan) -> bool:
    return old.customer is customer and old.plan is plan


def _overlaps(old: Subscription, start: datetime, end: datetime) -> bool:
    return old.start <= end and start < old.end


def _read_cancellation(form: Form) -> None:
    form.choice("flat_fee_behavior", ("refund", "charge_prorated", "charge_full"))
    form.choice("usage_behavior", ("bill_full", "bill_none"))
    form.choice("invoicing_behavior", INVOICING)
    form.check()


def _addon_id(text: str) -> str:
    """Return the id of an add-on or of its version."""
    prefix = "addon_version_" if text.startswith("addon_version_") else "addon_"
    return check_id(text, prefix)
