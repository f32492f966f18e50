"""The endpoints under ``/_fake/``: how another process looks at a FakeLotus and tells it what to do.

=======  ====================  ==========================================================================
GET      /_fake/state          counts: events, duplicates, requests, answers by status, faults by name
GET      /_fake/ids            one JSON line per stored event: ``{"idempotency_id", "times_received"}``
POST     /_fake/faults         replace the faults: what ``Faults.from_json`` takes; ``{}`` ends them
POST     /_fake/customers      ``{"customer_id": …}``: make a customer known
POST     /_fake/key            ``{"api_key": …, "keep_old": false}`` rotates it, ``{"expire": true}`` expires it
POST     /_fake/away           ``{"seconds": …}``: reset every connection, this one too, and refuse new ones so long
=======  ====================  ==========================================================================

They ask for no key, take part in no fault and are not recorded. Errors are 400 or 404 with ``{"error": …}``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lotus_durable.testing.exchange import Answer, Reply, Request, django_json
from lotus_durable.testing.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from lotus_durable.testing.fake_lotus import FakeLotus

PREFIX = "/_fake/"
JSON_LINES = "application/x-ndjson"


class ControlExchange:
    """One request to the control endpoints."""

    def __init__(self, server: FakeLotus) -> None:
        self._server = server

    def before_body(self) -> Reply | None:
        """Nothing fails here."""
        return None

    def after_body(self, request: Request) -> Reply:
        """Do what is asked and answer with the new state."""
        order = _ORDERS.get((request.method, request.path.removeprefix(PREFIX)))
        if order is None:
            return Reply(django_json(404, {"error": f"no {request.method} {request.path}"}))
        try:
            return Reply(order(self._server, json.loads(request.body or b"{}")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Reply(django_json(400, {"error": f"{type(error).__name__}: {error}"}))


def _state(server: FakeLotus, _body: dict[str, Any]) -> Answer:
    return django_json(200, server.counts())


def _ids(server: FakeLotus, _body: dict[str, Any]) -> Answer:
    lines = (
        json.dumps({"idempotency_id": id_, "times_received": times}) for id_, times in server.times_received.items()
    )
    return Answer(200, "".join(f"{line}\n" for line in lines).encode(), JSON_LINES)


def _faults(server: FakeLotus, body: dict[str, Any]) -> Answer:
    server.faults = Faults.from_json(body)
    return _state(server, body)


def _customers(server: FakeLotus, body: dict[str, Any]) -> Answer:
    server.add_customer(**body)
    return _state(server, body)


def _key(server: FakeLotus, body: dict[str, Any]) -> Answer:
    if body.get("expire"):
        server.expire_key()
    else:
        server.rotate_key(body["api_key"], keep_old=bool(body.get("keep_old")))
    return _state(server, body)


def _away(server: FakeLotus, body: dict[str, Any]) -> Answer:
    server.go_away_for(float(body["seconds"]))
    return _state(server, body)


_ORDERS: dict[tuple[str, str], Callable[[FakeLotus, dict[str, Any]], Answer]] = {
    ("GET", "state"): _state,
    ("GET", "ids"): _ids,
    ("POST", "faults"): _faults,
    ("POST", "customers"): _customers,
    ("POST", "key"): _key,
    ("POST", "away"): _away,
}
