"""A FakeLotus that another process can look at and tell what to do: by ``POST /_fake/<name>``.

The body is a JSON object of arguments, the answer the result as JSON, 400 or 404 with ``{"error": …}`` when it is not
understood. The names are those of ``_ORDERS``, as :class:`FakeLotus` has them. They ask for no key, take part in no
fault and are not recorded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lotus_durable.testing.exchange import JSON, Answer, Exchange, Reply, Request
from lotus_durable.testing.fake_lotus import FakeLotus
from lotus_durable.testing.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "/_fake/"
_ORDERS = {
    *("counts", "times_received", "database"),
    *("add_customer", "rotate_key", "expire_key", "go_away_for", "set_faults"),
}


class ControlledLotus(FakeLotus):
    """A FakeLotus with these endpoints."""

    def open_exchange(self, head: Request) -> Exchange:
        return _Order(self) if head.path.startswith(PREFIX) else super().open_exchange(head)

    def set_faults(self, faults: dict[str, Any]) -> None:
        """Replace the faults by what ``Faults.from_json`` takes; ``{}`` ends them."""
        self.faults: Faults = Faults.from_json(faults)


class _Order:
    """One request to these endpoints."""

    def __init__(self, server: ControlledLotus) -> None:
        self._server = server

    def before_body(self) -> Reply | None:
        """Nothing fails here."""
        return None

    def after_body(self, request: Request, wait: Callable[[float], bool]) -> Reply:  # noqa: ARG002
        """Do what is asked and answer with the result."""
        name = request.path.removeprefix(PREFIX)
        if name not in _ORDERS or request.method != "POST":
            return _answer(404, {"error": f"no {request.method} {name}"})
        try:
            order = getattr(self._server, name)
            return _answer(200, order(**json.loads(request.body or b"{}")) if callable(order) else order)
        except (ValueError, TypeError, AttributeError) as error:
            return _answer(400, {"error": f"{type(error).__name__}: {error}"})


def _answer(status: int, result: object) -> Reply:
    return Reply(Answer(status, json.dumps(result, default=sorted).encode(), JSON))
