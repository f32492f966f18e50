"""What the answers of 2024 look like. Money and limits are decimals in text, as the server's encoder writes them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lotus_durable.testing.accounts import CURRENCIES

if TYPE_CHECKING:
    from lotus_durable.testing.accounts import Accounts, Component, Credit, Customer, Plan, Subscription

Shape = dict[str, Any]


def decimal(value: float | Decimal | None) -> str | None:
    """Write a number with ten decimals."""
    return None if value is None else f"{Decimal(str(value)):.10f}"


def moment(value: datetime | None) -> str | None:
    """Write a time in UTC with a Z."""
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def currency(code: str) -> Shape:
    """Shape a currency."""
    name, symbol = CURRENCIES.get(code, (code, code))
    return {"code": code, "name": name, "symbol": symbol}


def customer_brief(customer: Customer) -> Shape:
    """Shape a customer inside something else."""
    return {
        "customer_name": customer.name,
        "email": customer.email,
        "customer_id": customer.customer_id,
    }


def customer_whole(customer: Customer, accounts: Accounts) -> Shape:
    """Shape a customer on its own."""
    details = customer.details
    return {
        **customer_brief(customer),
        "invoices": [],
        "total_amount_due": decimal(0),
        "subscriptions": [subscription(one, accounts) for one in accounts.subscriptions_of(customer)],
        "integrations": {"stripe": None, "braintree": None},
        "default_currency": currency(customer.currency),
        "payment_provider": details.get("payment_provider"),
        "payment_provider_id": details.get("payment_provider_id"),
        "has_payment_method": False,
        "address": details.get("billing_address"),
        "billing_address": details.get("billing_address"),
        "shipping_address": details.get("shipping_address"),
        "tax_rate": decimal(details.get("tax_rate")),
        "timezone": "UTC",
        "tax_providers": [],
    }


def plan_brief(plan: Plan) -> Shape:
    """Shape a plan inside something else."""
    return {
        "plan_name": plan.plan_name,
        "plan_id": plan.plan_id,
        "version_id": plan.version_id,
        "version": 1,
    }


def addon_brief(plan: Plan) -> Shape:
    """Shape an add-on inside something else."""
    return {
        "addon_name": plan.plan_name,
        "addon_id": plan.plan_id,
        "addon_type": "usage_based" if plan.components else "flat",
        "billing_frequency": "recurring",
    }


def filters(one: Subscription) -> list[Shape]:
    """Shape a subscription's filters."""
    return [{"property_name": name, "value": value} for name, value in one.filters]


def subscription(one: Subscription, accounts: Accounts) -> Shape:
    """Shape a subscription."""
    return {
        "subscription_id": one.subscription_id,
        "start_date": moment(one.start),
        "end_date": moment(one.end),
        "auto_renew": one.auto_renew,
        "is_new": one.is_new,
        "subscription_filters": filters(one),
        "customer": customer_brief(one.customer),
        "billing_plan": plan_brief(one.plan),
        "fully_billed": False,
        "addons": [
            {
                "addon_subscription_id": addon.subscription_id,
                "start_date": moment(addon.start),
                "end_date": moment(addon.end),
                "addon": addon_brief(addon.plan),
                "fully_billed": False,
            }
            for addon in accounts.addons_of(one)
        ],
        "metadata": one.metadata,
    }


def addon_subscription(one: Subscription, accounts: Accounts) -> Shape:
    """Shape the attachment of an add-on."""
    assert one.parent is not None
    return {
        "addon_subscription_id": one.subscription_id,
        "customer": customer_brief(one.customer),
        "addon": addon_brief(one.plan),
        "start_date": moment(one.start),
        "end_date": moment(one.end),
        "parent": {**subscription(one.parent, accounts), "plan_detail": plan_brief(one.parent.plan)},
        "fully_billed": False,
        "auto_renew": one.auto_renew,
        "metadata": one.metadata,
    }


def metric_brief(component: Component) -> Shape:
    """Shape a metric inside something else."""
    return {
        "metric_id": component.metric_id,
        "event_name": component.event_name,
        "metric_name": component.name,
    }


def plan_whole(plan: Plan, accounts: Accounts) -> Shape:
    """Shape a plan on its own."""
    active = sum(one.plan is plan and one.is_active(accounts.now()) for one in accounts.subscriptions.values())
    version = _version(plan)
    return {
        "plan_id": plan.plan_id,
        "plan_name": plan.plan_name,
        "plan_duration": plan.duration,
        "plan_description": "",
        "external_links": [],
        "display_version": version,
        "num_versions": 1,
        "active_version": 1,
        "active_subscriptions": active,
        "tags": [{"tag_name": tag} for tag in plan.tags],
        "versions": [version],
        "parent_plan": None,
        "target_customer": None,
        "status": "active",
    }


def _version(plan: Plan) -> Shape:
    return {
        "version_id": plan.version_id,
        "plan_name": plan.plan_name,
        "version": 1,
        "status": "active",
        "currency": currency(plan.currency),
        "components": [_component(component, plan) for component in plan.components],
        "features": [asdict(feature) for feature in plan.features],
        "recurring_charges": [],
        "price_adjustment": None,
        "flat_fee_billing_type": "in_advance",
        "flat_rate": decimal(0),
    }


def _component(component: Component, plan: Plan) -> Shape:
    return {
        "billable_metric": {
            **metric_brief(component),
            "property_name": component.property_name,
            "aggregation_type": "sum" if component.property_name else "count",
            "metric_type": "counter",
        },
        "tiers": _tiers(component),
        "pricing_unit": currency(plan.currency),
    }


def _tiers(component: Component) -> list[Shape]:
    tiers = []
    start = 0.0
    if component.free_limit is not None:
        tiers.append({"type": "free", "range_start": decimal(0), "range_end": decimal(component.free_limit)})
        start = component.free_limit
    if component.free_limit is None or component.limit != component.free_limit:
        tiers.append({"type": "per_unit", "range_start": decimal(start), "range_end": decimal(component.limit)})
    return tiers


def credit(one: Credit) -> Shape:
    """Shape a credit."""
    return {
        "credit_id": one.credit_id,
        "customer": customer_brief(one.customer),
        "amount": decimal(one.amount),
        "amount_remaining": decimal(one.amount if one.is_active else 0),
        "currency": currency(one.currency),
        "description": one.description,
        "effective_at": moment(one.effective_at),
        "expires_at": moment(one.expires_at),
        "status": "active" if one.is_active else "inactive",
        "amount_paid": decimal(one.amount_paid),
        "amount_paid_currency": currency(one.amount_paid_currency) if one.amount_paid_currency else None,
        "drawdowns": [],
    }
