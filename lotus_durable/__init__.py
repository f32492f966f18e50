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

import lotus_durable._posix  # noqa: F401  # first: on a system where this package does not run it says so
from lotus_durable._version import __version__
from lotus_durable.client import Client
from lotus_durable.errors import (
    APIError,
    AttentionNeeded,
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
    QueueInUse,
    RateLimited,
    ServerError,
    Timeout,
    UnexpectedAnswer,
)
from lotus_durable.options import INSTEAD
from lotus_durable.settings import SettingsModule, configure
from lotus_durable.settings import client as _client
from lotus_durable.settings import function as _function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from lotus_durable import option_types
    from lotus_durable.calls.access_answer import Access, Usage
    from lotus_durable.flusher.drain import DrainReport
    from lotus_durable.queue.stats import FlusherStats, QueueStats

__all__ = [
    "APIError",
    "Access",
    "AttentionNeeded",
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
    "QueueInUse",
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
host: str | None = None
relay_url: str | None = None
queue_dir: str | os.PathLike[str] | None = None
debug: bool | None = None
on_error: option_types.OnError | None = None
send: bool | None = None
on_invalid: option_types.OnInvalid | None = None
sync_mode: bool | None = None
durability: option_types.Durability | None = None
sync_interval: float | None = None
flush_interval: float | None = None
max_batch_events: int | None = None
max_event_bytes: int | None = None
max_queue_bytes: int | None = None
max_events_per_second: int | None = None
upload_concurrency: option_types.UploadConcurrency | None = None
timeout: float | tuple[float, float] | None = None
backend: option_types.Backend | None = None
flusher: option_types.Flusher | None = None
exit_timeout: float | None = None
api_version: option_types.ApiVersion | None = None
call_timeout: float | None = None
keep_delivered: float | None = None


if TYPE_CHECKING:
    _default: Final = _client()
    """The functions are its methods. Their signatures and docstrings are written there, once."""
    attach_addon: Final = _default.attach_addon
    cancel_addon: Final = _default.cancel_addon
    cancel_subscription: Final = _default.cancel_subscription
    check_event: Final = _default.check_event
    check_feature_access: Final = _default.check_feature_access
    check_metric_access: Final = _default.check_metric_access
    create_credit: Final = _default.create_credit
    create_customer: Final = _default.create_customer
    create_subscription: Final = _default.create_subscription
    drain: Final = _default.drain
    flush: Final = _default.flush
    get_customer: Final = _default.get_customer
    get_customer_access: Final = _default.get_customer_access
    get_customer_feature_access: Final = _default.get_customer_feature_access
    get_customer_metric_access: Final = _default.get_customer_metric_access
    get_plan: Final = _default.get_plan
    join: Final = _default.join
    list_credits: Final = _default.list_credits
    list_customers: Final = _default.list_customers
    list_plans: Final = _default.list_plans
    list_subscriptions: Final = _default.list_subscriptions
    ping: Final = _default.ping
    shutdown: Final = _default.shutdown
    stats: Final = _default.stats
    switch_subscription_plan: Final = _default.switch_subscription_plan
    track_event: Final = _default.track_event
    update_credit: Final = _default.update_credit
    update_subscription: Final = _default.update_subscription
    verify_idems_received: Final = _default.verify_idems_received
    void_credit: Final = _default.void_credit
else:
    from lotus_durable.settings import track_event

    _VALUES = {
        "Access": "lotus_durable.calls.access_answer",
        "DrainReport": "lotus_durable.flusher.drain",
        "FlusherStats": "lotus_durable.queue.stats",
        "QueueStats": "lotus_durable.queue.stats",
        "Usage": "lotus_durable.calls.access_answer",
    }
    """What calls return. A process that only tracks imports none of it."""

    def __getattr__(name: str) -> object:
        if name in _VALUES:
            from importlib import import_module

            return getattr(import_module(_VALUES[name]), name)
        if name in __all__:
            return _function(name)
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
