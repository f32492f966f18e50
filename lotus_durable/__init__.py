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
from lotus_durable.settings import SettingsModule
from lotus_durable.settings import client as _client
from lotus_durable.settings import current as _current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lotus_durable.calls.access_answer import Access, Usage
    from lotus_durable.flusher.drain import DrainReport
    from lotus_durable.flusher.stats import FlusherStats, QueueStats
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
    from lotus_durable.option_types import AccessFallback, ApiVersion, Backend, Durability, Flusher, OnError

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
    "check_feature_access",
    "check_metric_access",
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
api_version: ApiVersion | None = None
call_timeout: float | None = None
access_cache_ttl: float | None = None
access_fallback: AccessFallback | None = None


def track_event(
    *,
    customer_id: str,
    event_name: str,
    properties: Mapping[str, object] | None = None,
    time_created: datetime | str | None = None,
    idempotency_id: str | None = None,
) -> str:
    """Accept one event and return its idempotency id; see :meth:`Client.track_event`."""
    return _client().track_event(
        customer_id=customer_id,
        event_name=event_name,
        properties=properties,
        time_created=time_created,
        idempotency_id=idempotency_id,
    )


def drain(timeout: float | None = None) -> DrainReport:
    """Have everything that is pending now delivered; see :meth:`Client.drain`."""
    return _client().drain(timeout)


def flush(timeout: float | None = None) -> bool:
    """Drain, and return whether it was complete; see :meth:`Client.flush`."""
    return _client().flush(timeout)


def stats() -> QueueStats:
    """Count what is in the queue; see :meth:`Client.stats`."""
    return _client().stats()


def shutdown(timeout: float | None = None) -> None:
    """Wait until what this process tracked is delivered, and let go of the queue; see :meth:`Client.shutdown`."""
    client = _current()
    if client is not None:
        client.shutdown(timeout)


def join(timeout: float | None = None) -> None:
    """Wait until what this process tracked is delivered; see :meth:`Client.join`."""
    client = _current()
    if client is not None:
        client.join(timeout)


_CALLS = "lotus_durable.functions"
"""Where the other names are: functions like the ones above, for the calls that answer."""
_VALUES = {
    "Access": "lotus_durable.calls.access_answer",
    "DrainReport": "lotus_durable.flusher.drain",
    "FlusherStats": "lotus_durable.flusher.stats",
    "QueueStats": "lotus_durable.flusher.stats",
    "Usage": "lotus_durable.calls.access_answer",
}
"""What calls return: a process that only tracks imports none of it."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in __all__:
        return getattr(import_module(_VALUES.get(name, _CALLS)), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if os.environ.get("LOTUS_API_KEY") and os.environ.get("LOTUS_QUEUE_DIR"):
    from lotus_durable.settings import look_at_import

    look_at_import()

sys.modules[__name__].__class__ = SettingsModule
