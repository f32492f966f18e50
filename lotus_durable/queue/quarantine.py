"""Keeping damaged bytes for an operator, before the cursor moves past them."""

from __future__ import annotations

from lotus_durable.errors import QueueDamaged

from .directory import QueueDirectory, make_directory
from .files import sync_path, write_synced
from .protocol import Report
from .reader import Damage


def keep_aside(directory: QueueDirectory, damage: Damage, report: Report) -> None:
    """Write the bytes of a damaged stretch to the quarantine, durably, and report it."""
    if not damage.data:
        report(QueueDamaged(f"{damage}; nothing is left of them"))
        return
    make_directory(directory.quarantine)  # somebody may have looked through it, and removed it
    path = f"{directory.quarantine}/{damage.segment}-{damage.offset}.bin"
    write_synced(path, damage.data)
    sync_path(directory.quarantine)
    report(QueueDamaged(f"{damage}; the bytes are kept in {path}"))
