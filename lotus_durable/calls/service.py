"""Calls about the service itself: is it there, and what has it received."""

from __future__ import annotations

from collections.abc import Sequence

from lotus_durable.errors import UnexpectedAnswer

from .answers import Ping, VerifiedIds
from .arguments import read, refused
from .caller import Caller
from .generation import PING
from .request import Request, get, only_2024


def ping(caller: Caller) -> Ping:
    """Ask whether the server is there and knows the API key.

    Returns:
        The ``organization_id`` the key belongs to.

    Raises:
        NotSupported: the server of 2022 has no such call; ``list_customers`` checks the key there.
        AuthenticationError: it does not know the key.
        APIError: anything else that went wrong.
    """
    plan = only_2024(get(PING), "has no ping; list_customers checks the key there")
    return caller.answer("ping", plan, Ping)


def verify_idems_received(
    caller: Caller, *, idempotency_ids: Sequence[str], number_days_lookback: int = 30
) -> VerifiedIds:
    """Ask which events the server has stored, by their idempotency ids.

    Storing is asynchronous: ask some time after delivery. Each id counts once.

    Args:
        idempotency_ids: as ``track_event`` returned them.
        number_days_lookback: how many days ago the oldest of the events happened, at most.

    Returns:
        ``ids_not_found``: those of the ids that the server has not stored.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has no such call.
        UnexpectedAnswer: the server names ids that were not asked for, as some versions do; so it cannot be believed.
        APIError: anything else that went wrong.
    """
    body = read(verify_idems_received, locals())
    ids = body["idempotency_ids"] = list(dict.fromkeys(body["idempotency_ids"]))
    if not ids:
        raise refused("idempotency_ids", "must not be empty")
    question = Request("POST", "/api/verify_idems_received/", body=body, repeatable=True, changes=False)
    plan = only_2024(question, "has no verify_idems_received")
    answer = caller.answer("verify_idems_received", plan, VerifiedIds)
    if not set(answer.get("ids_not_found") or ()) <= set(ids):
        raise UnexpectedAnswer(
            "verify_idems_received: this server names ids that were not asked for (it compares hashes with ids), so "
            "nobody can say which events it has"
        )
    return answer
