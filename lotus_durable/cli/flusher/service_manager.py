"""Telling systemd how it goes: the notification protocol, without a library.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html: datagrams of ``NAME=value`` lines, to the Unix
socket that ``NOTIFY_SOCKET`` names; ``@`` is the first character of an abstract one. Where the variable is not set
there is nobody to tell, and nothing happens.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from lotus_durable.cli.logs import logger

_PATIENCE = 1.0  # seconds that one message may take: a manager that does not listen must not stop the flusher


class ServiceManager:
    """The service manager that started this process, if any. Methods may be called from any thread; none raises."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._status = ""
        self.watchdog_timeout: float | None = _watchdog_timeout(environ) if self._address else None
        """Seconds without :meth:`alive` after which the manager kills this process; None when it never does."""

    def ready(self) -> None:
        """Tell that it has started, or has finished to reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Tell that it reads its configuration again; :meth:`ready` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Tell that it is about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Tell that it makes progress, for the watchdog."""
        if self.watchdog_timeout is not None:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Tell in one line what it is doing, if that is news."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={' '.join(text.split())}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_PATIENCE)
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            logger.debug("cannot tell the service manager %r: %s", message, error)


def _address(name: str) -> str:
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else ""


def _watchdog_timeout(environ: Mapping[str, str]) -> float | None:
    for_whom = environ.get("WATCHDOG_PID", "")
    if for_whom not in ("", str(os.getpid())):
        return None  # a parent's
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 else None
