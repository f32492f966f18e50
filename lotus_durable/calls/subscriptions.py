"""Calls about subscriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from lotus_durable.clock import monotonic
from lotus_durable.errors import APIError, Conflict, UnexpectedAnswer

from .answers import Subscription
from .arguments import (
    Boolean,
    FlatFeeBehavior,
    InitialUnits,
    InvoicingBehavior,
    Moment,
    SubscriptionFilter,
    UsageBehavior,
    day,
    exactly_one,
    optional,
    path_part,
    read,
    refused,
)
from .caller import Caller, Outcome
from .generation import Generation
from .request import Request, get, needed, not_supported, post, refuse_given

SubscriptionStatus = Literal["active", "ended", "not_started"]

PATH: Final = "/api/subscriptions/"
_NEWER = ("version_id", "subscription_filters", "component_fixed_charges_initial_units", "metadata")
_VERBS = {"cancel_subscription": "cancel", "switch_subscription_plan": "switch"}


def create_subscription(
    caller: Caller,
    *,
    customer_id: str,
    billing_plan_id: str | None = None,
    start_date: Moment,
    plan_id: str | None = None,
    version_id: str | None = None,
    end_date: Moment | None = None,
    auto_renew: Boolean | None = None,
    is_new: Boolean | None = None,
    subscription_uid: str | None = None,
    subscription_filters: Sequence[SubscriptionFilter] | None = None,
    component_fixed_charges_initial_units: Sequence[InitialUnits] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Subscription:
    """Subscribe a customer to a plan.

    Never sent twice, because the server of 2022 would make a second subscription: see ``outcome_unknown`` of the error
    before you call it again. With a ``subscription_uid`` that server refuses the second one (``ServerError``).

    Args:
        customer_id: who.
        billing_plan_id: to which plan; or ``plan_id``, which is the same, or ``version_id``.
        start_date: from when on. The server of 2022 knows days only and is sent the day in UTC.
        plan_id: the same as ``billing_plan_id``.
        version_id: a version of a plan; 2024 only.
        end_date: until when; to the end of the plan's period if not given.
        auto_renew: whether it goes on after that; True if not given. The server of 2024 does not listen to False, so
            it is told again by ``update_subscription``, a second request. When that one fails the error names the
            subscription, which exists and renews.
        is_new: whether it is the customer's first to this plan; True if not given.
        subscription_uid: an id of your own for it; 2022 only.
        subscription_filters: only events with these properties count for it; 2024 only.
        component_fixed_charges_initial_units: how many units of fixed charges it begins with; 2024 only.
        metadata: anything about it; 2024 only.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server would ignore an argument.
        NotFound: there is no such customer or plan.
        Conflict: it overlaps a subscription to the same plan (2024; the server of 2022 makes a second one).
        APIError: anything else that went wrong.
    """
    exactly_one(billing_plan_id=billing_plan_id, plan_id=plan_id, version_id=version_id)
    given = read(create_subscription, locals())
    plans = given.pop("billing_plan_id"), given.pop("plan_id")
    chosen_plan, uid = plans[0] or plans[1], given.pop("subscription_uid")

    def plan(generation: Generation) -> Request:
        if generation == "2022":
            refuse_given(generation, "ignores it", **{name: given[name] for name in _NEWER})
            days = {name: optional(day, name, given[name]) for name in ("start_date", "end_date")}
            return post(PATH, {**given, **days, "billing_plan_id": chosen_plan, "subscription_uid": uid})
        refuse_given(generation, "chooses the id itself", subscription_uid=uid)
        return post(PATH, {**given, "plan_id": chosen_plan})

    if not caller.config.send or given["auto_renew"] is not False:
        return caller.answer("create_subscription", plan, Subscription)
    ends_at = monotonic() + caller.config.call_timeout
    outcome = caller.outcome("create_subscription", plan)
    created = outcome.value(Subscription)
    if created.get("auto_renew") is False or outcome.generation == "2022":
        return created
    return _not_renewing(caller, created, ends_at)


def cancel_subscription(
    caller: Caller,
    *,
    subscription_uid: str | None = None,
    bill_now: Boolean = True,
    subscription_id: str | None = None,
    revoke_access: Boolean | None = None,
    flat_fee_behavior: FlatFeeBehavior | None = None,
    usage_behavior: UsageBehavior | None = None,
    invoicing_behavior: InvoicingBehavior | None = None,
) -> Subscription:
    """Cancel a subscription.

    The server of 2022 lets it run to its end and not renew, unless ``revoke_access`` is True; the server of 2024 ends
    it at once. A request whose answer got lost is sent again: one that has ended then is taken for cancelled. Not so
    with ``revoke_access`` and ``bill_now`` on the server of 2022, which would make a second invoice.

    Args:
        subscription_uid: which one; or ``subscription_id``, which is the same.
        bill_now: whether the usage so far is billed. To the server of 2024 True is ``usage_behavior="bill_full"`` and
            ``invoicing_behavior="invoice_now"``, False is ``"bill_none"`` and ``"add_to_next_invoice"``, unless one
            of the two is given.
        subscription_id: the same as ``subscription_uid``.
        revoke_access: whether it ends now; False cannot be had from the server of 2024.
        flat_fee_behavior: what becomes of the flat fee; 2024 only, which charges all of it if not given.
        usage_behavior: whether usage is billed; 2024 only.
        invoicing_behavior: when; 2024 only.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server would ignore an argument.
        NotFound: there is no such subscription.
        Conflict: it has ended already, or, on the server of 2024, has not begun: see ``update_subscription``.
        APIError: anything else that went wrong.
    """
    name = exactly_one(subscription_uid=subscription_uid, subscription_id=subscription_id)
    behavior = read(cancel_subscription, locals())
    ids = {each: behavior.pop(each) for each in ("subscription_uid", "subscription_id")}
    uid, bills_now, revokes = ids[name], behavior.pop("bill_now"), behavior.pop("revoke_access")
    if not bills_now and (usage_behavior is not None or invoicing_behavior is not None):
        raise refused("bill_now", "cannot be False beside usage_behavior or invoicing_behavior, which say the same")

    def plan(generation: Generation) -> Request:
        if generation == "2022":
            refuse_given(generation, "knows only bill_now and revoke_access", **behavior)
            body = {"subscription_uid": uid, "bill_now": bills_now, "revoke_access": revokes}
            # Both together, sent twice, make two invoices (measured).
            return post("/api/cancel_subscription/", body, repeatable=not (bills_now and revokes))
        if revokes is False:
            raise not_supported(
                "revoke_access", generation, "ends access at once; update_subscription turns off renewal"
            )
        sent = behavior
        if usage_behavior is None and invoicing_behavior is None:
            sent = behavior | {
                "usage_behavior": "bill_full" if bills_now else "bill_none",
                "invoicing_behavior": "invoice_now" if bills_now else "add_to_next_invoice",
            }
        return post(f"{PATH}{path_part(name, uid)}/cancel/", sent, repeatable=True)

    def failed(outcome: Outcome) -> Subscription:
        if isinstance(outcome.error, Conflict) and outcome.arrived_before:
            return _cancelled(caller, outcome.generation, uid)
        raise explained(caller, outcome, uid)

    return caller.answer("cancel_subscription", plan, Subscription, failed=failed)


def list_subscriptions(
    caller: Caller,
    *,
    customer_id: str | None = None,
    status: Sequence[SubscriptionStatus] | None = None,
    plan_id: str | None = None,
    range_start: Moment | None = None,
    range_end: Moment | None = None,
) -> list[Subscription]:
    """Return a customer's subscriptions; on the server of 2022 everybody's, filters are 2024 only.

    Args:
        customer_id: whose; 2024 only, and needed there.
        status: those in one of these states; the active ones if not given.
        plan_id: those to this plan.
        range_start: those that end at this time or later.
        range_end: those that start at this time or earlier.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server would ignore a filter.
        NotFound: there is no such customer or plan.
        APIError: anything else that went wrong.
    """
    query = read(list_subscriptions, locals())

    def plan(generation: Generation) -> Request:
        if generation == "2022":
            refuse_given(generation, "ignores it and lists all subscriptions", **query)
        elif query["customer_id"] is None:
            raise needed("customer_id", generation)
        return get(PATH, query)

    return caller.answer("list_subscriptions", plan, list[Subscription])


# What follows a request, where one does not do it, or its answer says too little.


def _not_renewing(caller: Caller, created: Subscription, ends_at: float) -> Subscription:
    """Turn off the renewal of a subscription that was just created, and return what it then is.

    Raises:
        APIError: it renews; names the subscription.
    """
    uid = created.get("subscription_id")
    try:
        part = path_part("subscription_id", uid)
        # Turning it off twice does no more than once.
        request = post(f"{PATH}{part}/update/", {"turn_off_auto_renew": True}, repeatable=True)
        outcome = caller.outcome("create_subscription", lambda _: request, timeout=ends_at - monotonic())
        updated = outcome.value(Subscription)
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
        found = caller.answer(outcome.call, lambda _: get(f"{PATH}{path_part('subscription_id', uid)}/"), dict)
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


def _cancelled(caller: Caller, generation: Generation, uid: str) -> Subscription:
    """Return a subscription that an attempt whose answer got lost has cancelled."""
    if generation == "2022":
        return {"subscription_uid": uid}
    try:
        path = f"{PATH}{path_part('subscription_id', uid)}/"
        return caller.answer("cancel_subscription", lambda _: get(path), Subscription)
    except APIError:
        return {"subscription_id": uid}
