"""A Lotus server to test against: real HTTP on loopback, the answers of 2022 or 2024, and faults on demand.

>>> with FakeLotus("L24") as lotus:  # doctest: +SKIP
...     client = Client(api_key="test-key", host=lotus.host, queue_dir=tmp_path)
...     client.track_event(customer_id="c1", event_name="call")
...     lotus.wait_for(1)

It has the other calls of its generation too, with state: a plan by ``lotus.accounts.add_plan`` and a subscription make
access follow the events that were tracked. What it answers was recorded from the real servers. What it *stores* is less
than what it accepts, as with them: ``lotus.times_received`` is what was accepted, ``lotus.database`` what is stored.

:class:`FakeLotus` runs in threads of the calling process; :class:`FakeLotusProcess` runs the same server in a
process of its own (``python -m lotus_durable.testing``). Everything is kept in memory and forgotten at stop.
The pytest fixtures ``fake_lotus`` and ``fake_lotus_factory`` come with the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lotus_durable.testing.accounts import Component, Feature, Plan
    from lotus_durable.testing.exchange import ReceivedRequest
    from lotus_durable.testing.fake_lotus import FakeLotus, Generation
    from lotus_durable.testing.faults import (
        NAMED,
        Away,
        Close,
        DatabaseDown,
        Delay,
        Drip,
        Early,
        Fault,
        Faults,
        Interim,
        RateLimited,
        Redirect,
        RefuseEvents,
        Reset,
        Slow,
        Status,
        Truncate,
    )  # fmt: skip
    from lotus_durable.testing.process import FakeLotusProcess

__all__ = [
    "NAMED", "Away", "Close", "Component", "DatabaseDown", "Delay", "Drip", "Early", "FakeLotus", "FakeLotusProcess",
    "Fault", "Faults", "Feature", "Generation", "Interim", "Plan", "RateLimited", "ReceivedRequest", "Redirect",
    "RefuseEvents", "Reset", "Slow", "Status", "Truncate",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401  # a module's attributes are of any type
    """Import on first use: pytest loads this package in every run of every project that has it installed."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    modules = (import_module(f"{__name__}.{module}") for module in ("faults", "accounts", "fake_lotus", "process"))
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def __dir__() -> list[str]:
    return sorted(__all__)
