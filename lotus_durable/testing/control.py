"""The endpoints under ``/_fake/``: how another process looks at a FakeLotus and tells it what to do.

=======  ====================  ==========================================================================
GET      /_fake/state          counts: events, duplicates, requests, answers by status, faults by name
GET      /_fake/ids            one JSON line per received event: ``{"idempotency_id", "times_received"}``
GET      /_fake/database       one JSON line per event that is stored: its id; comes to rest first
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

from lotus_durable.testing.exchange import JSON, Answer, Exchange, Reply, Request
from lotus_durable.testing.fake_lotus import FakeLotus
from lotus_durable.testing.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PREFIX = "/_fake/"
JSON_LINES = "application/x-ndjson"


class ControlledLotus(FakeLotus):
    """A FakeLotus with these endpoints."""

    def open_exchange(self, head: Request) -> Exchange:
        if head.path.startswith(PREFIX):
            return ControlExchange(self)
        return super().open_exchange(head)


class ControlExchange:
    """One request to the control endpoints."""

    def __init__(self, server: FakeLotus) -> None:
        self._server = server

    def before_body(self) -> Reply | None:
        """Nothing fails here."""
        return None

    def after_body(self, request: Request, wait: Callable[[float], bool]) -> Reply:  # noqa: ARG002
        """Do what is asked and answer with the new state."""
        order = _ORDERS.get((request.method, request.path.removeprefix(PREFIX)))
        if order is None:
            return Reply(_json(404, {"error": f"no {request.method} {request.path}"}))
        try:
            return Reply(order(self._server, json.loads(request.body or b"{}")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Reply(_json(400, {"error": f"{type(error).__name__}: {error}"}))


def _json(status: int, value: object) -> Answer:
    return Answer(status, json.dumps(value).encode(), JSON)


def _json_lines(values: Iterable[object]) -> Answer:
    return Answer(200, "".join(f"{json.dumps(value)}\n" for value in values).encode(), JSON_LINES)


def _state(server: FakeLotus, _body: dict[str, Any]) -> Answer:
    return _json(200, server.counts())


def _ids(server: FakeLotus, _body: dict[str, Any]) -> Answer:
    return _json_lines({"idempotency_id": id_, "times_received": n} for id_, n in server.times_received.items())


def _database(server: FakeLotus, _body: dict[str, Any]) -> Answer:
    return _json_lines(server.database)


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
    ("GET", "database"): _database,
    ("POST", "faults"): _faults,
    ("POST", "customers"): _customers,
    ("POST", "key"): _key,
    ("POST", "away"): _away,
}
