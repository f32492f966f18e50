"""Calls about credits, money that customers have in advance. The server of 2022 has none of them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from .answers import Credit
from .arguments import Moment, Number, at_least_one, read, refused
from .caller import Caller
from .request import get, only_2024, post

CreditStatus = Literal["active", "inactive"]

_PATH = "/api/credits/"
_HAS_NONE = "has no credits"


def list_credits(
    caller: Caller,
    *,
    customer_id: str,
    currency_code: str | None = None,
    effective_after: Moment | None = None,
    effective_before: Moment | None = None,
    expires_after: Moment | None = None,
    expires_before: Moment | None = None,
    issued_after: Moment | None = None,
    issued_before: Moment | None = None,
    status: Sequence[CreditStatus] | None = None,
) -> list[Credit]:
    """Return a customer's credits that fit all that is given.

    Args:
        customer_id: whose.
        currency_code: in this currency, as ``USD``.
        effective_after: that begin at this time or later.
        effective_before: that begin at this time or earlier.
        expires_after: that end at this time or later, or never.
        expires_before: that end at this time or earlier.
        issued_after: that were given at this time or later.
        issued_before: that were given at this time or earlier.
        status: in one of these states; in any if not given.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has no credits.
        NotFound: there is no such customer.
        APIError: anything else that went wrong.
    """
    query = read(list_credits, locals())
    return caller.answer("list_credits", only_2024(get(_PATH, query), _HAS_NONE), list[Credit])


def create_credit(
    caller: Caller,
    *,
    customer_id: str,
    amount: Number,
    currency_code: str,
    description: str | None = None,
    effective_at: Moment | None = None,
    expires_at: Moment | None = None,
    amount_paid: Number | None = None,
    amount_paid_currency_code: str | None = None,
) -> Credit:
    """Give a customer credit. Never sent twice: see ``outcome_unknown`` of the error before you call it again.

    Args:
        customer_id: who gets it.
        amount: more than 0; at most ten digits on either side of the point.
        currency_code: as ``USD``.
        description: what for.
        effective_at: from when on; now if not given.
        expires_at: until when; for ever if not given.
        amount_paid: what they paid for it, with its currency; 0 if not given.
        amount_paid_currency_code: in which currency, with ``amount_paid``.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has no credits.
        NotFound: there is no such customer or currency.
        APIError: anything else that went wrong.
    """
    body = read(create_credit, locals())
    if bool(Decimal(body["amount_paid"] or 0)) != (amount_paid_currency_code is not None):
        # The server answers 500 to one without the other, and the credit is created all the same.
        missing = "amount_paid_currency_code" if amount_paid_currency_code is None else "amount_paid"
        raise refused(missing, "an amount_paid above 0 and amount_paid_currency_code are needed together")
    return caller.answer("create_credit", only_2024(post(_PATH, body), _HAS_NONE), Credit)


def update_credit(
    caller: Caller, *, credit_id: str, description: str | None = None, expires_at: Moment | None = None
) -> Credit:
    """Change what is given of an active credit.

    Args:
        credit_id: which one.
        description: what for.
        expires_at: until when; not in the past.

    Raises:
        InvalidRequest: an argument is refused, or there is none.
        NotSupported: the server of 2022 has no credits.
        NotFound: there is no such credit.
        Conflict: it is not active.
        APIError: anything else that went wrong.
    """
    at_least_one(description=description, expires_at=expires_at)
    request = post(_PATH + "{credit_id}/update/", read(update_credit, locals()))
    return caller.answer("update_credit", only_2024(request, _HAS_NONE), Credit)


def void_credit(caller: Caller, *, credit_id: str) -> Credit:
    """Take back what is left of an active credit.

    Args:
        credit_id: which one.

    Raises:
        InvalidRequest: the id is refused.
        NotSupported: the server of 2022 has no credits.
        NotFound: there is no such credit.
        Conflict: it is not active.
        APIError: anything else that went wrong.
    """
    request = post(_PATH + "{credit_id}/void/", read(void_credit, locals()))
    return caller.answer("void_credit", only_2024(request, _HAS_NONE), Credit)
