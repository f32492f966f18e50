"""The package's logger: where it goes in debug mode, and what it says about a configuration."""

from __future__ import annotations

import ipaddress
import logging
from urllib.parse import urlsplit

logger = logging.getLogger("lotus_durable")


def log_to_stderr() -> None:
    """Log every step; to standard error, unless the program has said where logs go."""
    logger.setLevel(logging.DEBUG)
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(process)d %(levelname)s %(message)s"))
        logger.addHandler(handler)


def counted(number: int, noun: str) -> str:
    """Return ``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def warn_if_unencrypted(host: str) -> None:
    """Say so when the API key and the events would travel in the clear, to anything but this machine."""
    parts = urlsplit(host)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        logger.warning("host %s is not encrypted: the API key and the events travel in the clear", host)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
