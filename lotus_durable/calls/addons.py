"""Calls about the add-ons of a subscription. The server of 2022 has none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answers import AddonSubscription
from .arguments import FlatFeeBehavior, InvoicingBehavior, UsageBehavior, exactly_one, path_part, read
from .caller import Caller
from .request import only_2024, post

_HAS_NONE = "has no add-ons"


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
    body = read(attach_addon, locals())
    path = f"/api/subscriptions/{path_part('subscription_id', body.pop('subscription_id'))}/addons/attach/"
    return caller.answer("attach_addon", only_2024(post(path, body), _HAS_NONE), AddonSubscription)


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
    body = read(cancel_addon, locals())
    ids = {each: body.pop(each) for each in ("subscription_id", "addon_id", "addon_version_id")}
    part, parent = path_part(name, ids[name]), path_part("subscription_id", ids["subscription_id"])
    path = f"/api/subscriptions/{parent}/addons/{part}/cancel/"
    return caller.answer("cancel_addon", only_2024(post(path, body), _HAS_NONE), AddonSubscription)
