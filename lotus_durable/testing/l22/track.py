"""``POST /api/track/`` as Django answered it in 2022.

Nothing is checked before it is used: a missing field, a wrong type or a strange body ends in a 500 page for the
whole batch, and since events are stored after the last one was looked at, a 500 stores nothing. Duplicates and
customers are checked at once. The real server then loses acknowledged events when requests overlap or when a value
cannot be inserted; this one stores what it accepted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lotus_durable.testing.exchange import Answer, Request, django_json, django_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from lotus_durable.testing.state import ServerState

MAX_BODY = 2_621_440


def track(request: Request, state: ServerState, refuse: Callable[[str], str | None]) -> Answer:
    """Store what the rules accept and name what they refuse."""
    try:
        loaded = _load(request)
        if not loaded:
            return Answer(400, b"No data provided")
        batch = _batch_in(loaded)
        with state.changed:
            failed = _store(batch, state, refuse)
            state.changed.notify_all()
        return _verdict(failed, of=len(batch))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return server_error()  # what was not caught in the view


def server_error() -> Answer:
    """Answer as Django does when a view raised."""
    return django_page(500, "Server Error (500)")


def _load(request: Request) -> Any:  # noqa: ANN401  # nothing checks what it is
    """Return what the body holds; raises whatever Python does."""
    if request.headers.get("content-type") != "application/json":
        return request.body.decode()  # kept as text, which breaks further on
    return json.loads(_readable_body(request))


def _batch_in(loaded: Any) -> Any:  # noqa: ANN401
    if isinstance(loaded, list):
        return loaded
    if isinstance(loaded, dict) and "batch" in loaded:
        return loaded["batch"]
    return [loaded]


def _readable_body(request: Request) -> bytes:
    """Return the body as WSGI shows it: without a length there is none."""
    return b"" if request.content_length is None else request.body


def _store(batch: Any, state: ServerState, refuse: Callable[[str], str | None]) -> dict[Any, str]:  # noqa: ANN401
    failed: dict[Any, str] = {}
    accepted: dict[Any, dict[str, Any]] = {}
    repeated: list[Any] = []
    for event in batch:
        known = state.knows_customer(event["customer_id"])
        id_ = event["idempotency_id"]
        if not known:
            failed[id_] = "Customer does not exist"
        elif id_ in state.ledger:
            failed[id_] = "Event idempotency already exists"
            repeated.append(id_)
        elif id_ in accepted:
            failed[id_] = "Duplicate event idempotency in request"
            repeated.append(id_)
        elif (reason := refuse(id_)) is not None:
            failed[id_] = reason
        else:
            accepted[id_] = _columns(event)
    for id_, event in accepted.items():
        state.ledger.store(id_, event)
    for id_ in repeated:
        state.ledger.count_duplicate(id_)
    return failed


def _columns(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event once the fields that become columns were read; raises KeyError for one that is missing."""
    for name in ("event_name", "time_created"):
        event[name]
    return event


def _verdict(failed: dict[Any, str], *, of: int) -> Answer:
    """Count as the server does: distinct failed ids against events, so "some" can mean none."""
    if len(failed) == of:
        return django_json(400, {"success": "none", "failed_events": failed})
    if failed:
        return django_json(201, {"success": "some", "failed_events": failed})
    return django_json(201, {"success": "all"})
