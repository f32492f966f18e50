"""A server's URL: what of ``urllib.parse`` a configuration needs."""

from __future__ import annotations

_LONGEST_PORT = 5  # digits


def host_name(url: str) -> str:
    """Return the name or the address of a machine in a URL, in lower case; empty where there is none, or a bad port."""
    place = url.partition("://")[2].partition("/")[0]
    if place.startswith("["):
        name, closing, rest = place[1:].partition("]")
        if not closing or (rest and rest[0] != ":"):
            return ""
        port = rest[1:]
    else:
        name, _, port = place.partition(":")
    is_port = not port or (len(port) <= _LONGEST_PORT and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16)
    return name.lower() if is_port else ""


def is_loopback(name: str) -> bool:
    """Whether this is a name of this very machine, or an address that no other one reaches."""
    return (
        name in ("localhost", "::1")
        or (name.startswith("127.") and name.replace(".", "").isdigit())
        or name.endswith(".localhost")
    )
