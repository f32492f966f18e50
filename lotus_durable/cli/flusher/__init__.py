"""``lotus-durable flusher``: a process of its own that only uploads.

``command`` is what is typed, ``service`` uploads with one configuration after the other, ``signals`` and ``single`` are
how it is told to stop and kept from running twice, ``narrator`` writes its log, and ``service_manager`` talks to
systemd.
"""

from __future__ import annotations

from .command import COMMAND

__all__ = ["COMMAND"]
