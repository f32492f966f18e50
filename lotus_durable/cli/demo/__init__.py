"""``lotus-durable demo``: see it survive kills and outages with your own eyes."""

from __future__ import annotations

from .command import COMMAND

__all__ = ["COMMAND"]
