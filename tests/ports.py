"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_FROM = 10_000
_FIRST_GIVEN = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
_below = list(range(_FROM, _FIRST_GIVEN))
random.SystemRandom().shuffle(_below)
_ports = iter(_below)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on at this moment, and that the system gives to nobody by itself; each once.

    One that it gives could become the own end of somebody's connection before the server listens, or between its end
    and its next start.
    """
    while True:
        port = next(_ports, 0)  # 0: the system's choice, where it leaves none
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            free: int = probe.getsockname()[1]
            return free
