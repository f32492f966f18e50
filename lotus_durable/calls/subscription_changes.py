"""Calls that change a subscription there is, and its add-ons. The server of 2022 has none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .answers import AddonSubscription, Subscription
from .arguments import (
    Boolean,
    FlatFeeBehavior,
    InitialUnits,
    InvoicingBehavior,
    Moment,
    UsageBehavior,
    at_least_one,
    exactly_one,
    read,
)
from .caller import Caller, Outcome
from .request import only_2024, post
from .subscriptions import PATH, explained

SwitchUsageBehavior = Literal["transfer_to_new_subscription", "keep_separate"]


def update_subscription(
    caller: Caller,
    *,
    subscription_id: str,
    turn_off_auto_renew: Boolean | None = None,
    end_date: Moment | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Subscription:
    """Change what is given of a subscription. ``metadata`` replaces what was there.

    Args:
        subscription_id: which one.
        turn_off_auto_renew: True: it ends with its period.
        end_date: when it ends; not in the past.
        metadata: anything about it.

    Raises:
        InvalidRequest: an argument is refused, or there is none.
        NotSupported: the server of 2022 cannot.
        NotFound: there is no such subscription.
        APIError: anything else that went wrong.
    """
    at_least_one(turn_off_auto_renew=turn_off_auto_renew, end_date=end_date, metadata=metadata)
    request = post(PATH + "{subscription_id}/update/", read(update_subscription, locals()))
    plan = only_2024(request, "cannot update a subscription")
    return caller.answer("update_subscription", plan, Subscription)


def switch_subscription_plan(
    caller: Caller,
    *,
    subscription_id: str,
    switch_plan_id: str | None = None,
    switch_plan_version_id: str | None = None,
    invoicing_behavior: InvoicingBehavior | None = None,
    usage_behavior: SwitchUsageBehavior | None = None,
    component_fixed_charges_initial_units: Sequence[InitialUnits] | None = None,
) -> Subscription:
    """End a subscription and go on with a new one to another plan of the same duration.

    Args:
        subscription_id: which one.
        switch_plan_id: to which plan; or
        switch_plan_version_id: to which version of a plan.
        invoicing_behavior: when the difference is billed.
        usage_behavior: whether the new subscription begins with the usage of the old one; this server begins with
            none all the same.
        component_fixed_charges_initial_units: how many units of fixed charges the new one begins with.

    Returns:
        The new subscription, with an id of its own.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``; by the server also the plan it has already.
        NotSupported: the server of 2022 cannot.
        NotFound: there is no such subscription or plan.
        Conflict: it has ended already.
        APIError: anything else that went wrong.
    """
    exactly_one(switch_plan_id=switch_plan_id, switch_plan_version_id=switch_plan_version_id)
    request = post(PATH + "{subscription_id}/switch_plan/", read(switch_subscription_plan, locals()))
    plan = only_2024(request, "cannot switch plans: cancel the subscription and create another")

    def failed(outcome: Outcome) -> Subscription:
        raise explained(caller, outcome, subscription_id)

    return caller.answer("switch_subscription_plan", plan, Subscription, failed=failed)


def attach_addon(
    caller: Caller,
    *,
    subscription_id: str,
    addon_id: str | None = None,
    addon_version_id: str | None = None,
    quantity: int = 1,
    metadata: Mapping[str, Any] | None = None,
) -> AddonSubscription:
    """Attach an add-on to a subscription. Never sent twice: see ``outcome_unknown`` of the error.

    Args:
        subscription_id: to which one.
        addon_id: which add-on; or
        addon_version_id: which version of one.
        quantity: how many, at least 1.
        metadata: anything about it.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has no add-ons.
        NotFound: there is no such subscription or add-on.
        APIError: anything else that went wrong.
    """
    exactly_one(addon_id=addon_id, addon_version_id=addon_version_id)
    request = post(PATH + "{subscription_id}/addons/attach/", read(attach_addon, locals()))
    return caller.answer("attach_addon", only_2024(request, "has no add-ons"), AddonSubscription)


def cancel_addon(
    caller: Caller,
    *,
    subscription_id: str,
    addon_id: str | None = None,
    addon_version_id: str | None = None,
    flat_fee_behavior: FlatFeeBehavior | None = None,
    usage_behavior: UsageBehavior | None = None,
    invoicing_behavior: InvoicingBehavior | None = None,
) -> AddonSubscription:
    """End an add-on of a subscription.

    Args:
        subscription_id: of which one.
        addon_id: which add-on; or
        addon_version_id: which version of one.
        flat_fee_behavior: what becomes of the flat fee.
        usage_behavior: whether usage is billed.
        invoicing_behavior: when.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has no add-ons.
        NotFound: there is no such subscription, or no such add-on in it.
        Conflict: it has ended already.
        APIError: anything else that went wrong.
    """
    name = exactly_one(addon_id=addon_id, addon_version_id=addon_version_id)
    request = post(f"{PATH}{{subscription_id}}/addons/{{{name}}}/cancel/", read(cancel_addon, locals()))
    return caller.answer("cancel_addon", only_2024(request, "has no add-ons"), AddonSubscription)
