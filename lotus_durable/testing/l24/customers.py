"""Customers, credits and plans of 2024."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lotus_durable.testing.accounts import CURRENCIES, MONTHS, Credit, Customer, new_id
from lotus_durable.testing.exchange import Answer, drf_json
from lotus_durable.testing.forms import Refused, check_id, crash, invalid
from lotus_durable.testing.l24 import shapes

if TYPE_CHECKING:
    from datetime import datetime

    from lotus_durable.testing.accounts import Accounts
    from lotus_durable.testing.forms import Form
    from lotus_durable.testing.routing import Call, View

PAYMENT_PROVIDERS = ("stripe", "braintree")
ADDRESSES = ("address", "billing_address", "shipping_address")


def views(accounts: Accounts) -> dict[str, dict[str, View]]:
    """Return the paths of these calls."""
    calls = _Calls(accounts)
    return {
        "/api/customers/": {"GET": calls.list_customers, "POST": calls.create_customer},
        "/api/customers/{id}/": {"GET": calls.get_customer},
        "/api/credits/": {"GET": calls.list_credits, "POST": calls.create_credit},
        "/api/credits/{id}/update/": {"POST": calls.update_credit},
        "/api/credits/{id}/void/": {"POST": calls.void_credit},
        "/api/plans/": {"GET": calls.list_plans},
        "/api/plans/{id}/": {"GET": calls.get_plan},
    }


def find_currency(code: str) -> str | None:
    """Return the code when the organization knows this currency."""
    return code if code in CURRENCIES else None


class _Calls:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    # ------------------------------------------------------------------ customers

    def list_customers(self, _call: Call) -> Answer:
        customers = self._accounts.customers.values()
        return drf_json(200, [shapes.customer_whole(customer, self._accounts) for customer in customers])

    def get_customer(self, call: Call) -> Answer:
        customer = self._accounts.customers.get(call.ids[0])
        if customer is None:
            raise Refused(404, "not_found", "Not found.")
        return drf_json(200, shapes.customer_whole(customer, self._accounts))

    def create_customer(self, call: Call) -> Answer:
        """Create a customer; the same id or e-mail again is refused, which of them only the detail says."""
        customer = _read_customer(call.form())
        if customer.customer_id in self._accounts.customers:
            raise Refused(400, "duplicate_resource", "Customer ID already exists")
        if any(other.email == customer.email for other in self._accounts.customers.values()):
            raise Refused(400, "duplicate_resource", "Customer email already exists")
        self._accounts.customers[customer.customer_id] = customer
        return drf_json(201, shapes.customer_whole(customer, self._accounts))

    # ------------------------------------------------------------------ credits

    def list_credits(self, call: Call) -> Answer:
        query = call.query()
        customer = query.related("customer_id", self._accounts.customers.get, required=True)
        code = query.related("currency_code", find_currency)
        bounds = {
            f"{what}_{side}": query.datetime(f"{what}_{side}")
            for what in ("effective", "expires", "issued")
            for side in ("after", "before")
        }
        wanted = call.query_list("status") or ["active", "inactive"]
        for status in wanted:
            if status not in {"active", "inactive"}:
                query.fail("status", f'"{status}" is not a valid choice.', "invalid_choice")
        query.check()
        found = [
            shapes.credit(credit)
            for credit in self._accounts.credits.values()
            if credit.customer is customer
            and code in {None, credit.currency}
            and ("active" if credit.is_active else "inactive") in wanted
            and _within(credit, bounds)
        ]
        return drf_json(200, found)

    def create_credit(self, call: Call) -> Answer:
        """Create a credit, a second one too when the same is sent again: nothing looks for duplicates."""
        form = call.form()
        customer = form.related("customer_id", self._accounts.customers.get, required=True)
        amount = form.decimal("amount", required=True)
        code = form.related("currency_code", find_currency, required=True)
        paid = form.decimal("amount_paid")
        paid_code = form.related("amount_paid_currency_code", find_currency)
        description = form.text("description")
        effective_at, expires_at = form.datetime("effective_at"), form.datetime("expires_at")
        if paid is not None and paid < 0:
            form.fail("amount_paid", "Ensure this value is greater than or equal to 0.", "min_value")
        form.check()
        assert customer is not None
        assert amount is not None
        assert code is not None
        if amount <= 0:
            raise invalid("Amount must be greater than 0")
        now = self._accounts.now()
        credit = Credit(
            credit_id=new_id("baladj_"),
            customer=customer,
            amount=amount,
            currency=code,
            description=description,
            effective_at=effective_at or now,
            expires_at=expires_at,
            created_at=now,
            amount_paid=paid or Decimal(0),
            amount_paid_currency=paid_code,
        )
        self._accounts.credits[credit.credit_id] = credit
        return drf_json(201, shapes.credit(credit))

    def update_credit(self, call: Call) -> Answer:
        credit = self._credit(call)
        form = call.form()
        description, expires_at = form.text("description"), form.datetime("expires_at")
        form.check()
        if expires_at is not None and expires_at < self._accounts.now():
            raise invalid("Expiration date must be in the future")
        if not credit.is_active:
            raise invalid("Only active credits can be updated", attr=None)
        credit.description = description or credit.description
        credit.expires_at = expires_at or credit.expires_at
        return drf_json(200, shapes.credit(credit))

    def void_credit(self, call: Call) -> Answer:
        credit = self._credit(call)
        if not credit.is_active:
            raise invalid("Cannot void an adjustment that is not active.", attr=None)
        credit.is_active = False
        return drf_json(200, shapes.credit(credit))

    def _credit(self, call: Call) -> Credit:
        credit = self._accounts.credits.get(check_id(call.ids[0], "baladj_"))
        if credit is None:
            raise Refused(404, "not_found", "Not found.")
        return credit

    # ------------------------------------------------------------------ plans

    def list_plans(self, call: Call) -> Answer:
        query = call.query()
        duration = query.choice("duration", MONTHS)
        code = query.related("version_currency_code", find_currency)
        query.choice("version_custom_type", ("custom_only", "public_only", "all"))
        query.check()
        any_of, all_of = set(call.query_list("include_tags")), set(call.query_list("include_tags_all"))
        none_of = set(call.query_list("exclude_tags"))
        found = [
            shapes.plan_whole(plan, self._accounts)
            for plan in self._accounts.plans.values()
            if not plan.is_addon
            and duration in {None, plan.duration}
            and code in {None, plan.currency}
            and (not any_of or any_of & set(plan.tags))
            and all_of <= set(plan.tags)
            and not none_of & set(plan.tags)
        ]
        return drf_json(200, found)

    def get_plan(self, call: Call) -> Answer:
        plan = self._accounts.plans.get(check_id(call.ids[0], "plan_"))
        if plan is None:
            raise Refused(404, "not_found", "Not found.")
        return drf_json(200, shapes.plan_whole(plan, self._accounts))


def _read_customer(form: Form) -> Customer:
    """Read a new customer; a payment provider counts as connected to the organization."""
    customer_id = form.text("customer_id", required=True, max_length=50)
    email = form.email("email", required=True)
    name = form.text("customer_name", max_length=100)
    provider = form.choice("payment_provider", PAYMENT_PROVIDERS)
    provider_id = form.text("payment_provider_id")
    code = form.related("default_currency_code", find_currency) or "USD"
    details: dict[str, Any] = {
        "properties": form.json_object("properties"),
        "tax_rate": form.decimal("tax_rate"),
        **{address: form.json_object(address) for address in ADDRESSES},
    }
    form.check()
    if provider and not provider_id:
        raise invalid("Payment provider ID required when payment provider is specified")
    if provider_id and not provider:
        raise crash()  # it looks the missing provider up first
    details |= {"payment_provider": provider, "payment_provider_id": provider_id}
    details["billing_address"] = details["billing_address"] or details["address"]
    assert customer_id is not None
    return Customer(customer_id, name, email, code, details)


def _within(credit: Credit, bounds: dict[str, datetime | None]) -> bool:
    times = {"effective": credit.effective_at, "expires": credit.expires_at, "issued": credit.created_at}
    for bound, limit in bounds.items():
        what, _, side = bound.partition("_")
        when = times[what]
        if limit is None:
            continue
        if when is None:  # never expires: after everything
            if side == "before":
                return False
        elif (when < limit) if side == "after" else (when > limit):
            return False
    return True
