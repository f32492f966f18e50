"""Ports for servers that tests start."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

_FROM = 10_000
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
_numbers = random.Random(os.getpid())


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on at this moment, and that the system gives to nobody by itself.

    One that it gives could become the own end of somebody's connection before the server listens, or between its end
    and its next start.
    """
    first_given = int(_GIVEN.read_text().split()[0])
    while True:
        port = _numbers.randrange(_FROM, first_given) if first_given > _FROM else 0
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            free: int = probe.getsockname()[1]
            return free
