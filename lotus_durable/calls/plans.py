"""Calls about plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .answers import Plan
from .arguments import read
from .caller import Caller
from .generation import Generation
from .request import Request, get, refuse_given

PlanDuration = Literal["monthly", "quarterly", "yearly"]
PlanVersionType = Literal["custom_only", "public_only", "all"]
PlanVersionStatus = Literal["active", "ended", "not_started"]

_PATH = "/api/plans/"


def list_plans(
    caller: Caller,
    *,
    duration: PlanDuration | None = None,
    include_tags: Sequence[str] | None = None,
    include_tags_all: Sequence[str] | None = None,
    exclude_tags: Sequence[str] | None = None,
    version_currency_code: str | None = None,
    version_custom_type: PlanVersionType | None = None,
    version_status: Sequence[PlanVersionStatus] | None = None,
) -> list[Plan]:
    """Return the plans; on the server of 2022 all of them, filters are 2024 only.

    Args:
        duration: those of this duration, chosen here: the server of 2024 fails on this filter.
        include_tags: those that have any of these tags.
        include_tags_all: those that have all of these tags.
        exclude_tags: those that have none of these tags.
        version_currency_code: refused, because no server has this filter: that of 2024 knows no currency by it.
        version_custom_type: with such versions.
        version_status: with versions in one of these states.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server would ignore a filter.
        APIError: anything else that went wrong.
    """
    query = read(list_plans, locals())
    chosen, currency = query.pop("duration"), query.pop("version_currency_code")

    def plan(generation: Generation) -> Request:
        if generation == "2022":
            refuse_given(generation, "ignores it and lists all plans", duration=chosen, **query)
        reason = "finds no currency by it; look at the currency of each plan's versions"
        refuse_given(generation, reason, version_currency_code=currency)
        return get(_PATH, query)

    plans = caller.answer("list_plans", plan, list[Plan])
    return plans if chosen is None else [one for one in plans if one.get("plan_duration") == chosen]


def get_plan(caller: Caller, *, plan_id: str) -> Plan:
    """Return one plan.

    Args:
        plan_id: its id, on the server of 2022 its ``billing_plan_id``.

    Raises:
        InvalidRequest: the id is refused.
        NotFound: there is none.
        APIError: anything else that went wrong.
    """
    question = get(_PATH + "{plan_id}/", read(get_plan, locals()))
    return caller.answer("get_plan", lambda _: question, Plan)
