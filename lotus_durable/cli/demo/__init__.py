"""``lotus-durable demo``: kills processes at work, and counts what the server has in the end.

``command`` is what is typed, ``run`` sets up and cleans up, ``play`` is what happens, ``worker`` is one of those who
track, ``judge`` compares what they accepted with what the server has, and ``report`` says it.
"""

from __future__ import annotations

from .command import COMMAND

__all__ = ["COMMAND"]
