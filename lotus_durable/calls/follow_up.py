"""What follows the request of a call about a subscription, where one does not do it, or its answer says too little."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, cast

from lotus_durable.errors import APIError, Conflict, UnexpectedAnswer

from .answers import Subscription
from .arguments import path_part
from .caller import Caller, Outcome
from .generation import Generation
from .request import get, post

PATH: Final = "/api/subscriptions/"
_VERBS = {"cancel_subscription": "cancel", "switch_subscription_plan": "switch"}


def not_renewing(caller: Caller, created: Subscription, ends_at: float) -> Subscription:
    """Turn off the renewal of a subscription that was just created, and return what it then is.

    Raises:
        APIError: it renews; names the subscription.
    """
    uid = created.get("subscription_id")
    try:
        part = path_part("subscription_id", uid)
        # Turning it off twice does no more than once.
        request = post(f"{PATH}{part}/update/", {"turn_off_auto_renew": True}, repeatable=True)
        outcome = caller.outcome("create_subscription", lambda _: request, timeout=ends_at - time.monotonic())
        updated = cast("Subscription", outcome.value(dict))
        if updated.get("auto_renew") is not False:
            raise UnexpectedAnswer("the server did not turn it off")
    except APIError as error:
        said = f"create_subscription: the subscription {uid} was created, and renews although auto_renew is False"
        error.args = (f"{said}; turn that off by update_subscription ({error})",)
        error.outcome_unknown = True
        raise
    return updated


def explained(caller: Caller, outcome: Outcome, uid: str) -> APIError:
    """Return the error for what the server of 2024 answered 500 to, in words if the subscription's dates explain it.

    It does so for one that has not begun, or has ended, and has changed nothing then. It is asked afterwards and not
    before, because only its clock tells: by ours, a subscription that runs might not be cancelled.
    """
    error = outcome.error
    assert error is not None
    if outcome.generation == "2022" or error.status != 500:  # noqa: PLR2004
        return error
    try:
        found = caller.object_of(outcome.call, lambda _: get(f"{PATH}{path_part('subscription_id', uid)}/"))
        starts, ends = (datetime.fromisoformat(found[name]) for name in ("start_date", "end_date"))
        now = datetime.now(UTC)
        if now < starts:
            reason = f"has not begun, and this server cannot {_VERBS[outcome.call]} it before {starts.isoformat()}"
        elif ends <= now:
            reason = f"has ended, at {ends.isoformat()}"
        else:
            return error
    except (APIError, ValueError, TypeError, KeyError):
        return error
    return Conflict(
        f"{outcome.call}: the subscription {uid} {reason}",
        status=error.status,
        code=error.code,
        detail=error.detail,
        request_id=error.request_id,
        outcome_unknown=outcome.arrived_before,
    )


def cancelled(caller: Caller, generation: Generation, uid: str) -> Subscription:
    """Return a subscription that an attempt whose answer got lost has cancelled."""
    if generation == "2022":
        return {"subscription_uid": uid}
    try:
        path = f"{PATH}{path_part('subscription_id', uid)}/"
        return cast("Subscription", caller.object_of("cancel_subscription", lambda _: get(path)))
    except APIError:
        return {"subscription_id": uid}
