"""Awaitable twins of what waits: the calls that answer, ``drain`` and its kind. For asyncio.

::

    from lotus_durable import aio

    answer = await aio.get_customer_access(customer_id="customer123", event_name="api_call")

Each runs the function of the same name in a thread of the event loop's executor, with the same arguments, answers and
errors. ``track_event`` has no twin: it waits for nothing, so call it as it is. For a method of a client of your own:
``await aio.awaitable(client.drain)(timeout=10)``.

A task that is cancelled stops waiting; the thread goes on until the function returns, and a loop that closes waits for
it. So give the time limit to the function (``timeout``, ``call_timeout``), not to ``asyncio.wait_for``.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

import lotus_durable as lotus

_P = ParamSpec("_P")
_T = TypeVar("_T")


def awaitable(function: Callable[_P, _T]) -> Callable[_P, Awaitable[_T]]:
    """Return a function that runs this one in a thread, and can be awaited."""

    @wraps(function)
    async def in_thread(*arguments: _P.args, **named: _P.kwargs) -> _T:
        return await to_thread(function, *arguments, **named)

    return in_thread


drain: Final = awaitable(lotus.drain)
flush: Final = awaitable(lotus.flush)
join: Final = awaitable(lotus.join)
shutdown: Final = awaitable(lotus.shutdown)
stats: Final = awaitable(lotus.stats)

ping: Final = awaitable(lotus.ping)
verify_idems_received: Final = awaitable(lotus.verify_idems_received)

create_customer: Final = awaitable(lotus.create_customer)
list_customers: Final = awaitable(lotus.list_customers)
get_customer: Final = awaitable(lotus.get_customer)

list_plans: Final = awaitable(lotus.list_plans)
get_plan: Final = awaitable(lotus.get_plan)

create_subscription: Final = awaitable(lotus.create_subscription)
cancel_subscription: Final = awaitable(lotus.cancel_subscription)
list_subscriptions: Final = awaitable(lotus.list_subscriptions)
update_subscription: Final = awaitable(lotus.update_subscription)
switch_subscription_plan: Final = awaitable(lotus.switch_subscription_plan)
attach_addon: Final = awaitable(lotus.attach_addon)
cancel_addon: Final = awaitable(lotus.cancel_addon)

list_credits: Final = awaitable(lotus.list_credits)
create_credit: Final = awaitable(lotus.create_credit)
update_credit: Final = awaitable(lotus.update_credit)
void_credit: Final = awaitable(lotus.void_credit)

get_customer_access: Final = awaitable(lotus.get_customer_access)
get_customer_metric_access: Final = awaitable(lotus.get_customer_metric_access)
get_customer_feature_access: Final = awaitable(lotus.get_customer_feature_access)
check_metric_access: Final = awaitable(lotus.check_metric_access)
check_feature_access: Final = awaitable(lotus.check_feature_access)
