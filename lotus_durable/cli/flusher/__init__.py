"""``lotus-durable flusher``: the flusher in the foreground, for a service manager.

``command`` is what is typed and ``run`` runs it, ``service`` flushes with one configuration after the other, ``report``
writes its log, ``metrics_server`` answers Prometheus, and ``service_manager`` talks to systemd.
"""

from __future__ import annotations

from .command import COMMAND

__all__ = ["COMMAND"]
