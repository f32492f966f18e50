"""``lotus-durable demo``: kills processes at work, and counts what the server has in the end.

``command`` is what is typed, ``run`` what happens, ``worker`` one of those who track, and ``report`` compares what they
accepted with what the server has. The serious test of all this is the chaos harness of the source's tests.
"""

from __future__ import annotations

from .command import COMMAND

__all__ = ["COMMAND"]
