"""Customers, credits, plans, subscriptions and their add-ons of 2024."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from lotus_durable.testing.accounts import (
    CURRENCIES,
    Credit,
    Customer,
    Drawdown,
    Plan,
    Subscription,
    end_of_period,
    new_id,
)
from lotus_durable.testing.exchange import Answer
from lotus_durable.testing.forms import hex_of
from lotus_durable.testing.generation import Blanks, Call, Generation


class Billing(Generation):
    """The views of these calls."""

    def list_customers(self, _call: Call) -> Blanks:
        return {"found": [self._whole(one) for one in self.accounts.customers.values()]}

    def get_customer(self, call: Call) -> Blanks:
        return {"customer": self._whole(call.customer)}

    def create_customer(self, call: Call) -> Blanks:
        """Create a customer; the same id or e-mail again is refused, which of them only the detail says."""
        provider, id_there = call.payment_provider, call.payment_provider_id
        self.refuse_if(provider and not id_there, "create_customer provider alone")
        self.refuse_if(id_there and not provider, "create_customer provider id alone")  # it looks the missing one up
        is_connected = provider is None or provider in self.accounts.payment_providers
        self.refuse_if(not is_connected, "create_customer payment provider")
        others = self.accounts.customers
        self.refuse_if(call.customer_id in others, "create_customer same id")
        self.refuse_if(call.email in {other.email for other in others.values()}, "create_customer same email")
        details = {**vars(call), "billing_address": call.billing_address or call.address}
        currency = call.default_currency_code or CURRENCIES["USD"]
        others[call.customer_id] = Customer(call.customer_id, call.customer_name, call.email, currency, details)
        return {"customer": self._whole(others[call.customer_id])}

    def _whole(self, customer: Customer) -> Blanks:
        return {"customer": customer, "subscriptions": self.accounts.subscriptions_of(customer)}

    def list_credits(self, call: Call) -> Blanks:
        found = [
            credit
            for credit in self.accounts.credits.values()
            if credit.customer is call.customer_id
            and call.currency_code in (None, credit.currency)
            and (not call.status or ("active" if credit.is_active else "inactive") in call.status)
            and _within(credit.effective_at, call.effective_after, call.effective_before)
            and _within(credit.expires_at, call.expires_after, call.expires_before)
            and _within(credit.created_at, call.issued_after, call.issued_before)
        ]
        return {"found": found}

    def create_credit(self, call: Call) -> Blanks:
        """Create a credit, a second one too when the same is sent again: nothing looks for duplicates."""
        self.refuse_if(call.amount <= 0, "create_credit zero")
        now = self.accounts.now()
        credit = Credit(
            customer=call.customer_id,
            amount=call.amount,
            currency=call.currency_code,
            created_at=now,
            effective_at=call.effective_at or now,
            expires_at=call.expires_at,
            description=call.description,
            amount_paid=call.amount_paid or Decimal(0),
            amount_paid_currency=call.amount_paid_currency_code,
        )
        self.accounts.credits[credit.credit_id] = credit
        # Breaks in what comes after the credit.
        self.refuse_if(call.amount_paid and not call.amount_paid_currency_code, "create_credit paid without currency")
        return {"credit": credit}

    def update_credit(self, call: Call) -> None:
        credit, expires = call.credit, call.expires_at
        self.refuse_if(expires is not None and expires < self.accounts.now(), "update_credit expired")
        self.refuse_if(not credit.is_active, "update_credit voided")
        credit.description = call.description or credit.description
        credit.expires_at = expires or credit.expires_at

    def void_credit(self, call: Call) -> Answer:
        """Void it; the answer has the rest as it was before."""
        credit, now = call.credit, self.accounts.now()
        self.refuse_if(not credit.is_active, "void_credit again")
        credit.is_active = False
        answer = self.record.answer("void_credit", credit=credit)
        description = f"Voiding remaining credit at {now:%Y-%m-%d %H:%M} UTC"
        credit.drawdowns.append(Drawdown(-credit.remaining, description, now))
        return answer

    def list_plans(self, call: Call) -> Blanks:
        """List plans, the newest first; two of the filters have never worked."""
        self.refuse_if(call.duration, "list_plans monthly")
        versions = int("active" in (call.version_status or ["active"]))
        found = [
            self._listed(plan, versions)
            for plan in reversed(self.accounts.plans.values())
            if not plan.is_addon
            and (not call.include_tags or set(call.include_tags) & set(plan.tags))
            and set(call.include_tags_all or ()) <= set(plan.tags)
            and not set(call.exclude_tags or ()) & set(plan.tags)
        ]
        return {"found": found}

    def get_plan(self, call: Call) -> Blanks:
        return {"plan": self._listed(call.plan, versions=1)}

    def _listed(self, plan: Plan, versions: int) -> Blanks:
        now = self.accounts.now()
        active = sum(one.plan is plan and one.is_active(now) for one in self.accounts.subscriptions.values())
        return {"plan": plan, "subscriptions": active, "versions": versions}

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
        new = replace(old, subscription_id=new_id("sub_"), plan=chosen, start=now, is_new=True)
        for addon in new.addons:
            addon.parent = new
        old.end, old.addons = now, []
        return {"subscription": self.accounts.keep(new)}

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


def _within(moment: datetime | None, after: datetime | None, before: datetime | None) -> bool:
    """Whether it is between these; None as a moment is after everything, as a bound no bound."""
    if moment is None:
        return before is None
    return (after is None or after <= moment) and (before is None or moment <= before)
