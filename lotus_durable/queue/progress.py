"""How far the flusher is: the second part of its heartbeat, for those who count and wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .directory import QueueDirectory
from .heartbeat import Refusal, read_progress
from .stats import Settled


def as_plain(settled: Settled, refusals: Sequence[Refusal]) -> dict[str, Any]:
    """Return what the heartbeat carries."""
    plain = settled._asdict()
    plain["cursor"] = {name: list(position) for name, position in settled.cursor.items()}
    return {"settled": plain, "refusals": [each._asdict() for each in refusals]}


def read_settled(directory: QueueDirectory) -> Settled | None:
    """Return what was settled at the last heartbeat; None when there was none (or what is there cannot be read)."""
    try:
        plain = read_progress(directory)["settled"]
        known = {name: plain[name] for name in Settled._fields if name in plain}
        known["cursor"] = {name: (offset, sequence) for name, (offset, sequence) in known["cursor"].items()}
        return Settled(**known)
    except (TypeError, KeyError, ValueError):
        return None
