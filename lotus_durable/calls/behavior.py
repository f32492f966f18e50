"""How the server of 2024 settles what is cancelled or switched."""

from __future__ import annotations

from typing import Literal, get_args

from .arguments import choice, optional

FlatFeeBehavior = Literal["refund", "charge_prorated", "charge_full"]
UsageBehavior = Literal["bill_full", "bill_none"]
InvoicingBehavior = Literal["invoice_now", "add_to_next_invoice"]


def cancelling(flat_fee_behavior: object, usage_behavior: object, invoicing_behavior: object) -> dict[str, str | None]:
    """Read the three arguments of a cancellation into the fields that are sent."""
    return {
        "flat_fee_behavior": optional(choice(get_args(FlatFeeBehavior)), "flat_fee_behavior", flat_fee_behavior),
        "usage_behavior": optional(choice(get_args(UsageBehavior)), "usage_behavior", usage_behavior),
        "invoicing_behavior": invoicing(invoicing_behavior),
    }


def invoicing(value: object) -> str | None:
    """Read ``invoicing_behavior``."""
    return optional(choice(get_args(InvoicingBehavior)), "invoicing_behavior", value)
