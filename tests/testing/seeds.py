"""What the real servers had before the recording began, and what they made of it by themselves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from lotus_durable.testing import Component, FakeLotus, Feature
from lotus_durable.testing.accounts import Credit, Drawdown

RUN = "r0r0r0"
"""In the place of ``<r>``, which set one run of the recorder apart from the next."""
UNKNOWN = "0" * 31 + "1"


def seed(server: FakeLotus) -> dict[str, str]:
    """Give the server what the real one had before, and return the ids of it by name."""
    accounts, names = server.accounts, {}
    runs = ("q22", "q22b") if server.generation == "L22" else ("q24",)
    for customer in ("customer123", "customer_1", "cust_limited", "cust_free", "cust_none"):
        accounts.add_customer(customer, name=customer, email=f"{customer}@example.com")
    for run in runs:
        for i in range(3):
            accounts.add_customer(f"later-{run}-{i}", name=f"Later {i}", email=f"later{i}-{run}@example.com")
    mb = "sum of mb_used of api_call" if server.generation == "L22" else "mb"
    calls_name = "count of api_call" if server.generation == "L22" else "calls"
    calls = Component("api_call", limit=3, free_limit=1, metric_name=calls_name)
    calls10 = Component("api_call", limit=10, free_limit=1, metric_name=calls_name, metric_id=calls.metric_id)
    free = 1 if server.generation == "L22" else None
    megabytes = Component("api_call", free_limit=free, property_name="mb_used", metric_name=mb)
    extra = Component("addon_event", limit=100, metric_name="extra")
    description = None if server.generation == "L22" else "d"
    sso = Feature("sso", feature_description=description)
    support = Feature("premium_support", feature_description=description)
    plans: list[tuple[str, dict[str, Any]]] = [
        ("limited", {"components": [calls]}),
        ("free", {"components": [megabytes], "features": [sso]}),
        ("basic", {}),
        ("both", {"components": [calls, megabytes]}),
        ("limited10", {"components": [calls10]}),
        ("yearly", {"duration": "yearly"}),
        ("flat", {"addon": True, "features": [support]}),
        ("recurring", {"addon": True, "components": [extra]}),
    ]
    for name, options in plans:
        if server.generation == "L22" and name in {"limited", "free", "basic", "both"}:
            id_ = "billing_plan_5" if name == "basic" else f"plan_{name}"
            names[name] = accounts.add_plan(id_, plan_id=id_, flat_rate=30, **options).plan_id
        elif server.generation == "L24":
            plan = accounts.add_plan(name, flat_rate=30, **options)
            names[name], names[f"{name} version"] = plan.plan_id, plan.version_id
    names |= {"calls": calls.metric_id, "extra": extra.metric_id}
    names |= {"sso": sso.feature_id, "premium_support": support.feature_id}
    for kind, prefix in (("plan", "plan"), ("version", "plan_version"), ("addon", "addon"), ("metric", "metric")):
        names[f"unknown {kind}"] = f"{prefix}_{UNKNOWN}"
    names |= {"unknown feature": f"feature_{UNKNOWN}", "unknown subscription": f"sub_{UNKNOWN}"}
    names |= {"unknown credit": f"credit_{UNKNOWN}", "far": "2099-01-01T00:00:00Z", "long ago": "2020-01-01T00:00:00Z"}
    if server.generation == "L24":
        names["a plan as an addon"] = names["basic"].replace("plan_", "addon_")
    return names


def add_credits_of_invoices(server: FakeLotus) -> None:
    """Add what the invoices of the calls before had granted: FakeLotus writes no invoices."""
    customer, now = server.accounts.customers[f"cust_a-{RUN}"], server.accounts.now()
    for amount, number, drawn in (
        ("9.956285767", "07", (("-9.956285764", "09"), ("-0.000000003", "08"))),
        ("13.868835776", "10", ()),
    ):
        credit = Credit(
            customer=customer,
            amount=Decimal(amount),
            currency=customer.currency,
            created_at=now,
            effective_at=now,
            description=f"Credit Grant from invoice 261125-0000{number} generated on 2026-11-25",
            is_active=not drawn,
            drawdowns=[
                Drawdown(Decimal(taken), f"Balance decrease from invoice 261125-0000{by} generated on 2026-11-25", now)
                for taken, by in drawn
            ],
        )
        server.accounts.credits[credit.credit_id] = credit
