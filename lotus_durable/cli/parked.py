"""``lotus-durable parked``: what the server refuses for now."""

from __future__ import annotations

from .refused_events import RefusedCommand

COMMAND = RefusedCommand(
    "parked",
    "parked",
    "parked event",
    "Parked events are refused for now, as when their customer does not exist. They are tried again by themselves,\n"
    "and are dead letters after some days.",
).command()
