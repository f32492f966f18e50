"""``lotus-durable dead-letters``: what the server refused for good."""

from __future__ import annotations

from .refused_events import RefusedCommand

COMMAND = RefusedCommand(
    "dead-letters",
    "dead_letter",
    "dead letter",
    "Dead letters are events that the server refused for good, and what of a damaged segment cannot be read. They are\n"
    "kept until somebody puts them back or throws them away.",
).command()
