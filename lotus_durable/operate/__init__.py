"""What operators do to a queue, as calls: look at events, put them back, purge, check, repair, export, import.

The commands and the adapters for frameworks are thin above it. Looking takes no lock and changes nothing. What changes
the queue does so in one way, :mod:`.holding`: it has the flusher's lock meanwhile.

Of all of them: ``config`` and ``directory`` name the queue, which may be in use. ``report`` is told of what cannot be
read, and nothing raises for it; ``watch`` is told how much is done; ``waiting`` is for a flusher in the middle of a
request. Each may raise ``OSError`` (the disk refuses; what was done before is done) and ``QueueDamaged`` (a later
version made the queue), and what changes the queue ``QueueInUse`` (the flusher does not let go of it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from lotus_durable.errors import LotusError
from lotus_durable.values import NamedTuple


class Waiting(NamedTuple):
    """How a change waits for a flusher that is in the middle of a request."""

    seconds: float = 60.0
    """At the most: a request is over by then, but where the server hangs."""
    tell: Callable[[str], None] = lambda _: None
    """Told, once, who is waited for."""


WAITING = Waiting()


def refuse(error: LotusError) -> NoReturn:
    """Be told of what cannot be read, and raise it: what is counted without it would be less than there is."""
    raise error
