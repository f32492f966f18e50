"""Customers, credits and plans of 2024."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING

from lotus_durable.testing.accounts import Credit, Customer, Drawdown
from lotus_durable.testing.catalog import CURRENCIES, Plan
from lotus_durable.testing.forms import id_in_path, named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lotus_durable.testing.exchange import Answer
    from lotus_durable.testing.generation import Blanks, Call, Generation

BOUNDS = ("effective_after", "effective_before", "expires_after", "expires_before", "issued_after", "issued_before")


class Customers:
    """The views of these calls."""

    def __init__(self, server: Generation) -> None:
        self._no = server.no
        self._record = server.record
        self._accounts = server.accounts
        server.readers["currency"] = named("code", CURRENCIES.get)
        # The currency of a version is looked for where there are none.
        server.readers["no_currency"] = named("code", lambda _code: None)

    # ------------------------------------------------------------------ customers

    def list_customers(self, _call: Call) -> Blanks:
        return {"found": [self._whole(one) for one in self._accounts.customers.values()]}

    def get_customer(self, call: Call) -> Blanks:
        customer = self._accounts.customers.get(call.ids[0])
        if customer is None:
            raise self._no("get_customer unknown")
        return {"customer": self._whole(customer)}

    def create_customer(self, call: Call) -> Blanks:
        """Create a customer; the same id or e-mail again is refused, which of them only the detail says."""
        customer = self._new_customer(call.sent)
        if customer.customer_id in self._accounts.customers:
            raise self._no("create_customer same id")
        if any(other.email == customer.email for other in self._accounts.customers.values()):
            raise self._no("create_customer same email")
        self._accounts.customers[customer.customer_id] = customer
        return {"customer": self._whole(customer)}

    def _whole(self, customer: Customer) -> Blanks:
        return {"customer": customer, "subscriptions": self._accounts.subscriptions_of(customer)}

    def _new_customer(self, sent: SimpleNamespace) -> Customer:
        if sent.payment_provider and not sent.payment_provider_id:
            raise self._no("create_customer provider alone")
        if sent.payment_provider_id and not sent.payment_provider:  # it looks the missing provider up first
            raise self._no("create_customer provider id alone")
        if sent.payment_provider and sent.payment_provider not in self._accounts.payment_providers:
            raise self._no("create_customer payment provider")
        sent.billing_address = sent.billing_address or sent.address
        currency = sent.default_currency_code or CURRENCIES["USD"]
        return Customer(sent.customer_id, sent.customer_name, sent.email, currency, details=vars(sent))

    # ------------------------------------------------------------------ credits

    def list_credits(self, call: Call) -> Blanks:
        asked = call.sent
        found = [
            credit
            for credit in self._accounts.credits.values()
            if credit.customer is asked.customer_id
            and asked.currency_code in {None, credit.currency}
            and credit.status in (asked.status or [credit.status])
            and _within(credit, vars(asked))
        ]
        return {"found": found}

    def create_credit(self, call: Call) -> Blanks:
        """Create a credit, a second one too when the same is sent again: nothing looks for duplicates."""
        sent = call.sent
        if sent.amount <= 0:
            raise self._no("create_credit zero")
        now = self._accounts.now()
        credit = Credit(
            customer=sent.customer_id,
            amount=sent.amount,
            currency=sent.currency_code,
            created_at=now,
            effective_at=sent.effective_at or now,
            expires_at=sent.expires_at,
            description=sent.description,
            amount_paid=sent.amount_paid or Decimal(0),
            amount_paid_currency=sent.amount_paid_currency_code,
        )
        self._accounts.credits[credit.credit_id] = credit
        if credit.amount_paid and credit.amount_paid_currency is None:  # breaks in what comes after the credit
            raise self._no("create_credit paid without currency")
        return {"credit": credit}

    def update_credit(self, call: Call) -> Blanks:
        credit = self._credit(call)
        sent = call.sent
        if sent.expires_at is not None and sent.expires_at < self._accounts.now():
            raise self._no("update_credit expired")
        if not credit.is_active:
            raise self._no("update_credit voided")
        credit.description = sent.description or credit.description
        credit.expires_at = sent.expires_at or credit.expires_at
        return {"credit": credit}

    def void_credit(self, call: Call) -> Answer:
        """Void it; the answer has the rest as it was before."""
        credit = self._credit(call)
        if not credit.is_active:
            raise self._no("void_credit again")
        credit.is_active = False
        answer = self._record.answer("void_credit", credit=credit)
        now = self._accounts.now()
        description = f"Voiding remaining credit at {now:%Y-%m-%d %H:%M} UTC"
        credit.drawdowns.append(Drawdown(-credit.remaining, description, now))
        return answer

    def _credit(self, call: Call) -> Credit:
        credit = self._accounts.credits.get("baladj_" + id_in_path(call.ids[0], "baladj_"))
        if credit is None:
            raise self._no("credit unknown")
        return credit

    # ------------------------------------------------------------------ plans

    def list_plans(self, call: Call) -> Blanks:
        """List plans, the newest first; two of the filters have never worked."""
        asked = call.sent
        if asked.duration:
            raise self._no("list_plans monthly")
        found = [
            self._listed(plan, versions=int("active" in (asked.version_status or ["active"])))
            for plan in reversed(self._accounts.plans.values())
            if not plan.is_addon
            and (not asked.include_tags or set(asked.include_tags) & set(plan.tags))
            and set(asked.include_tags_all or ()) <= set(plan.tags)
            and not set(asked.exclude_tags or ()) & set(plan.tags)
        ]
        return {"found": found}

    def get_plan(self, call: Call) -> Blanks:
        plan = self._accounts.plans.get("plan_" + id_in_path(call.ids[0], "plan_", "addon_"))
        if plan is None:
            raise self._no("get_plan unknown")
        return {"plan": self._listed(plan, 1)}

    def _listed(self, plan: Plan, versions: int) -> Blanks:
        now = self._accounts.now()
        active = sum(one.plan is plan and one.is_active(now) for one in self._accounts.subscriptions.values())
        return {"plan": plan, "subscriptions": active, "versions": versions}


def _within(credit: Credit, bounds: Mapping[str, datetime | None]) -> bool:
    times = {"effective": credit.effective_at, "expires": credit.expires_at, "issued": credit.created_at}
    for name in BOUNDS:
        what, _, side = name.partition("_")
        when, limit = times[what], bounds[name]
        if limit is None:
            continue
        if when is None:  # never expires: after everything
            if side == "before":
                return False
        elif (when < limit) if side == "after" else (when > limit):
            return False
    return True
