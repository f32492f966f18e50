"""What the templates of the admin's pages use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template

from lotus_durable.cli.wording import count

register: Any = template.Library()


def moment(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as a moment; of an event that cannot be read, none."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


register.filter("humane_numbers", count)
register.filter(moment)
