"""Numbers in words for people; ``--json`` prints them as they are."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_THOUSAND = 1000


def count(number: int, noun: str = "") -> str:
    """Return ``12,345``, or with a noun ``1 event``, ``12,345 events``."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Return ``less than a second``, ``42 seconds``, ``3 minutes``, ``5 hours``, ``12 days``, rounded down."""
    for unit, name in _UNITS:
        if seconds >= unit:
            return count(int(seconds // unit), name)
    return "less than a second"


def size(number: int) -> str:
    """Return ``512 bytes``, ``41.0 kB``, ``1.2 GB``."""
    if number < _THOUSAND:
        return count(number, "byte")
    scaled = float(number)
    for unit in ("kB", "MB", "GB"):
        scaled /= _THOUSAND
        if round(scaled, 1) < _THOUSAND:
            return f"{scaled:.1f} {unit}"
    return f"{scaled / _THOUSAND:.1f} TB"


def moment(seconds: float) -> str:
    """Return seconds since the epoch as a time in UTC: ``2026-01-31 12:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
