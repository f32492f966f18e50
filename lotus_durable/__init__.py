"""Usage events for Lotus that survive crashes.

::

    import lotus_durable as lotus

    lotus.api_key = "YOUR API KEY"
    lotus.track_event(customer_id="customer123", event_name="api_call", properties={"region": "US", "mb_used": 150})

The functions here are the methods of one default client, made of the settings below when it is first needed. A setting
that is None counts as not set: the environment variable ``LOTUS_<NAME>`` is next, then the default.
"""

from __future__ import annotations

import os
import sys

import lotus_durable._posix  # noqa: F401  # where this does not run it says so before anything else fails
from lotus_durable._version import __version__
from lotus_durable.client import Client
from lotus_durable.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    DeliveryBlocked,
    DeliveryError,
    DeliveryResumed,
    DiskRefused,
    EventRefused,
    InvalidEvent,
    InvalidRequest,
    LotusError,
    NotFound,
    NotSupported,
    QueueDamaged,
    QueueDirectoryError,
    QueueFull,
    RateLimited,
    ServerError,
    Timeout,
    UnexpectedAnswer,
)
from lotus_durable.event.ids import TrackedId
from lotus_durable.options import INSTEAD
from lotus_durable.settings import SettingsModule
from lotus_durable.settings import client as _client
from lotus_durable.settings import configure as _configure
from lotus_durable.settings import current as _current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any, Unpack

    from lotus_durable.calls.access_answer import Access, Usage
    from lotus_durable.flusher.drain import DrainReport
    from lotus_durable.functions import (
        attach_addon,
        cancel_addon,
        cancel_subscription,
        check_feature_access,
        check_metric_access,
        create_credit,
        create_customer,
        create_subscription,
        get_customer,
        get_customer_access,
        get_customer_feature_access,
        get_customer_metric_access,
        get_plan,
        list_credits,
        list_customers,
        list_plans,
        list_subscriptions,
        ping,
        switch_subscription_plan,
        update_credit,
        update_subscription,
        verify_idems_received,
        void_credit,
    )
    from lotus_durable.option_types import ApiVersion, Backend, Durability, Flusher, OnError, OnInvalid, Options
    from lotus_durable.queue.stats import FlusherStats, QueueStats

__all__ = [
    "APIError",
    "Access",
    "AuthenticationError",
    "Client",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "DeliveryBlocked",
    "DeliveryError",
    "DeliveryResumed",
    "DiskRefused",
    "DrainReport",
    "EventRefused",
    "FlusherStats",
    "InvalidEvent",
    "InvalidRequest",
    "LotusError",
    "NotFound",
    "NotSupported",
    "QueueDamaged",
    "QueueDirectoryError",
    "QueueFull",
    "QueueStats",
    "RateLimited",
    "ServerError",
    "Timeout",
    "UnexpectedAnswer",
    "Usage",
    "__version__",
    "attach_addon",
    "cancel_addon",
    "cancel_subscription",
    "check_event",
    "check_feature_access",
    "check_metric_access",
    "configure",
    "create_credit",
    "create_customer",
    "create_subscription",
    "drain",
    "flush",
    "get_customer",
    "get_customer_access",
    "get_customer_feature_access",
    "get_customer_metric_access",
    "get_plan",
    "join",
    "list_credits",
    "list_customers",
    "list_plans",
    "list_subscriptions",
    "ping",
    "shutdown",
    "stats",
    "switch_subscription_plan",
    "track_event",
    "update_credit",
    "update_subscription",
    "verify_idems_received",
    "void_credit",
]

# Settings; lotus_durable.config.Config says what they mean.
api_key: str | None = None
api_key_file: str | os.PathLike[str] | None = None
previous_api_key_file: str | os.PathLike[str] | None = None
host: str | None = None
queue_dir: str | os.PathLike[str] | None = None
debug: bool | None = None
on_error: OnError | None = None
send: bool | None = None
on_invalid: OnInvalid | None = None
sync_mode: bool | None = None
durability: Durability | None = None
sync_interval: float | None = None
flush_interval: float | None = None
max_batch_events: int | None = None
max_event_bytes: int | None = None
max_queue_bytes: int | None = None
upload_concurrency: int | None = None
timeout: float | tuple[float, float] | None = None
backend: Backend | None = None
flusher: Flusher | None = None
exit_timeout: float | None = None
keep_delivered: float | None = None
api_version: ApiVersion | None = None
call_timeout: float | None = None


def configure(**settings: Unpack[Options]) -> None:
    """Set several settings at once, all of them or none; what is not named stays, and None means not set.

    For child processes, which may not have what their parent has set: give it to a pool as its initializer, by
    ``functools.partial(lotus_durable.configure, api_key=…, queue_dir=…)``.

    Args:
        settings: by their names, as for ``Client``.

    Raises:
        ConfigurationError: one is wrong, or there is none of that name; nothing is set.
    """
    _configure(settings)


def track_event(
    *,
    customer_id: str,
    event_name: str,
    properties: Mapping[str, object] | None = None,
    time_created: datetime | str | None = None,
    idempotency_id: str | None = None,
) -> str:
    """Accept one event: when this returns, it survives this process, and will be delivered.

    Args:
        customer_id: the customer's id, as given to ``create_customer``; 1 to 50 characters, or a whole number.
        event_name: what happened, as the metrics name it; 1 to 100 characters, 200 with ``api_version="2022"``.
        properties: a mapping with string keys of what JSON can hold; ``Decimal``, ``datetime``, ``date``, ``UUID``,
            ``Enum``, sets and tuples are converted.
        time_created: when it happened; now if not given. A naive datetime is taken as UTC.
        idempotency_id: at most 255 characters; the server counts events with the same id once. A random UUID if not
            given.

    Returns:
        The idempotency id.

    Raises:
        InvalidEvent: an argument is refused; names the field and the reason. Nothing was written. Not with
            ``on_invalid="report"``.
        QueueFull: the event was not accepted: the queue is over ``max_queue_bytes``, or the disk takes no writes and
            the memory buffer is full.
        QueueDirectoryError: nor was it: the queue directory has never worked for this process.
        ConfigurationError: a setting is wrong.
        EventRefused: with ``sync_mode`` only: the server refused it for good.
    """
    return TrackedId(
        _client().track_event(
            customer_id=customer_id,
            event_name=event_name,
            properties=properties,
            time_created=time_created,
            idempotency_id=idempotency_id,
        )
    )


def check_event(
    *,
    customer_id: str,
    event_name: str,
    properties: Mapping[str, object] | None = None,
    time_created: datetime | str | None = None,
    idempotency_id: str | None = None,
) -> dict[str, Any]:
    """Check one event, to track it later: nothing is written.

    For what must wait for a transaction: keep what is returned in a table of your own (an outbox), and call
    ``track_event(**event)`` for each row; twice counts once.

    Args:
        customer_id: as for ``track_event``.
        event_name: as for ``track_event``.
        properties: as for ``track_event``.
        time_created: as for ``track_event``.
        idempotency_id: as for ``track_event``.

    Returns:
        The arguments of ``track_event``, in types that JSON has, with the id and the time fixed.

    Raises:
        InvalidEvent: an argument is refused.
    """
    return _client().check_event(
        customer_id=customer_id,
        event_name=event_name,
        properties=properties,
        time_created=time_created,
        idempotency_id=idempotency_id,
    )


def drain(timeout: float | None = None) -> DrainReport:
    """Have everything that is pending now delivered; from any process, for deploy hooks and tests.

    Args:
        timeout: seconds; None for as long as it takes.

    Returns:
        What was achieved. When delivery is blocked it returns at once, with the reason.

    Raises:
        DiskRefused: the queue directory cannot be used.
        QueueDamaged: the queue cannot be read.
        ConfigurationError: a setting is wrong.
    """
    return _client().drain(timeout)


def flush(timeout: float | None = None) -> bool:
    """Do what :func:`drain` does, and return whether it was complete; a drop-in name.

    Args:
        timeout: seconds; None for as long as it takes.

    Raises:
        LotusError: as :func:`drain`.
    """
    return _client().flush(timeout)


def stats() -> QueueStats:
    """Count what is in the queue, for all processes that share it; ages in seconds, sizes in bytes.

    Raises:
        LotusError: as :func:`drain`.
    """
    return _client().stats()


def shutdown(timeout: float | None = None) -> None:
    """Do what :func:`join` does, and let go of the queue until the next call; raises nothing.

    Args:
        timeout: seconds; ``exit_timeout`` if not given.
    """
    client = _current()
    if client is not None:
        client.shutdown(timeout)


def join(timeout: float | None = None) -> None:
    """Wait until what this process tracked is delivered; a drop-in name; raises nothing.

    There is no wait while the server takes nothing: the events are on disk, and are delivered when it does.

    Args:
        timeout: seconds; ``exit_timeout`` if not given.
    """
    client = _current()
    if client is not None:
        client.join(timeout)


_CALLS = "lotus_durable.functions"
"""Where the other names are: functions like the ones above, for the calls that answer."""
_VALUES = {
    "Access": "lotus_durable.calls.access_answer",
    "DrainReport": "lotus_durable.flusher.drain",
    "FlusherStats": "lotus_durable.queue.stats",
    "QueueStats": "lotus_durable.queue.stats",
    "Usage": "lotus_durable.calls.access_answer",
}
"""What calls return: a process that only tracks imports none of it."""


if not TYPE_CHECKING:  # else every name would pass, of a setting too

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in __all__:
            return getattr(import_module(_VALUES.get(name, _CALLS)), name)
        why = f": {INSTEAD[name]}" if name in INSTEAD else ""
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}{why}", name=name, obj=sys.modules[__name__]
        )


sys.modules[__name__].__class__ = SettingsModule

if "LOTUS_ISOLATION" in os.environ:  # a program that a test has started
    from lotus_durable.testing.isolation import isolation as _isolation

    _isolation.begin_as_child()
if os.environ.get("LOTUS_API_KEY") and os.environ.get("LOTUS_QUEUE_DIR"):
    from lotus_durable.settings import look_at_import

    look_at_import()
