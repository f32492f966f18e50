"""What operators do to a queue, as calls: look at events, put them back, purge, check, repair, export, import.

The commands and the adapters for frameworks are thin above it. Looking takes no lock and changes nothing. What changes
the queue does so in one way, :mod:`.holding`: it has the flusher's lock meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from lotus_durable.values import NamedTuple


class Waiting(NamedTuple):
    """How a change waits for a flusher that is in the middle of a request."""

    seconds: float = 60.0
    """At the most: a request is over by then, but where the server hangs."""
    tell: Callable[[str], None] = lambda _: None
    """Told, once, who is waited for."""


WAITING = Waiting()
