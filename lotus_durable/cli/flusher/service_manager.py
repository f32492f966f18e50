"""Telling systemd how it goes: the notification protocol, without a library.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html: datagrams of ``NAME=value`` lines, to the Unix
socket that ``NOTIFY_SOCKET`` names; ``@`` is the first character of an abstract one. Where the variable is not set
there is nobody to tell, and nothing happens.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from lotus_durable.cli.logs import logger

_PATIENCE = 1.0  # seconds that one message may take: a manager that does not listen must not stop the flusher


class ServiceManager:
    """The service manager that started this process, if any."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name if name.startswith("/") else ""
        self.watchdog_timeout: float | None = _watchdog_timeout(environ) if self._address else None
        """Seconds without ``WATCHDOG=1`` after which the manager kills this process; None when it never does."""

    def tell(self, *lines: str) -> None:
        """Send one message. May be called from any thread, and never raises."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_PATIENCE)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            logger.debug("cannot tell the service manager %r: %s", lines, error)


def _watchdog_timeout(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", "") not in ("", str(os.getpid())):
        return None  # a parent's
    try:
        return int(environ["WATCHDOG_USEC"]) / 1e6 or None
    except (KeyError, ValueError):
        return None
