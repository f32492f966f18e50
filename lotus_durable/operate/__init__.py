"""What operators do to a queue, as calls: look at events, put them back, purge, check, repair, export, import.

The commands and the adapters for frameworks are thin above it. Looking takes no lock and changes nothing. What changes
the queue does so in one way, :mod:`.holding`: it has the flusher's lock meanwhile.
"""

from __future__ import annotations

PATIENCE = 60.0
"""Seconds to wait for the lock: a request of the flusher's is over by then, but where the server hangs."""
