"""Money and limits in what the server answers: ``Decimal``, from the digits on the wire.

Both servers send them as JSON numbers, ``"amount": 10.5``. A float would be another number than the one that was sent
(``1234567890.0123456789``), and sums of floats are not sums of money.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from lotus_durable.http.answer import NOT_JSON, Answer, json_value

_MONEY: Final = frozenset({
    "amount", "amount_paid", "amount_remaining", "balance", "cost_per_batch", "flat_rate", "free_metric_units",
    "max_metric_units", "metric_free_limit", "metric_total_limit", "metric_units_per_batch", "metric_usage", "tax_rate",
    "total_amount_due",
})  # fmt: skip
"""Fields that are a ``Decimal`` also where a server sends a whole number, or text."""


def exact_value(answer: Answer) -> object:
    """Return an answer's JSON value with its numbers exact, or ``NOT_JSON``; raises nothing."""
    try:
        return _exact(json_value(answer, fraction=Decimal))
    except RecursionError:
        return NOT_JSON


def _exact(value: object, field: str = "") -> object:
    if isinstance(value, dict):
        return {name: _exact(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_exact(one) for one in value]
    if field in _MONEY and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except InvalidOperation:
            return value
        return number if number.is_finite() else value
    return value
