"""Mending a queue: first a plan, then, if wanted, the work. What is removed from a file is kept in another one."""

from __future__ import annotations

import os
import time

from lotus_durable.config import Config
from lotus_durable.disk import DatabaseDamaged
from lotus_durable.errors import QueueDamaged
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.files import sync_path
from lotus_durable.queue.identity import LaterFormat, ensure_identity, read_identity
from lotus_durable.queue.protocol import Report

from . import WAITING, Waiting, Watch, unwatched
from .checking import Checked, Finding, check
from .holding import Held, held
from .rewriting import move_rows, take_out


def repair(
    config: Config,
    *,
    report: Report = lambda _: None,
    waiting: Waiting = WAITING,
    watch: Watch = unwatched,
) -> Checked:
    """Mend what can be, and return what is wrong afterwards."""
    directory = QueueDirectory(config.queue_dir)
    _mend_identity(directory, report)
    with held(config, waiting=waiting) as queue:

        def beat(checked: int) -> None:
            queue.control.beat_if_due()
            watch(checked)

        # What cannot be read and is no damage may hold events that count, and can be read another time.
        findings = [finding for finding in check(directory, beat).findings if finding.remedy]
        for finding in findings:
            if finding.path.startswith("journal/") and finding.offset is None:
                _move_aside(directory, finding.path, report)
        if any(finding.path == "books.db" and finding.offset is None for finding in findings):  # not only a row
            queue.consumer.books.begin_anew(DatabaseDamaged("the books are damaged"))
        _mend_rows(queue, findings, report)
        if any(finding.path.startswith("journal/") and finding.offset is not None for finding in findings):
            take_out(queue, lambda _: True, report)
    return check(directory, watch)


def _mend_identity(directory: QueueDirectory, report: Report) -> None:
    try:
        read_identity(directory)
    except LaterFormat:
        raise
    except QueueDamaged:
        kept = _move_aside(directory, "identity", report)
        ensure_identity(directory)
        report(QueueDamaged(f"the identity was damaged; a new one was made, the damaged one is kept as {kept}"))


def _mend_rows(queue: Held, findings: list[Finding], report: Report) -> None:
    if not any(finding.path == "queue.db" for finding in findings):
        return
    try:
        move_rows(queue, report)
    except OSError as error:
        report(QueueDamaged(f"queue.db: nothing can be moved out of it: {error}"))
    for suffix in ("-shm", "-wal", ""):
        if os.path.exists(queue.directory.queue_db + suffix):
            _move_aside(queue.directory, f"queue.db{suffix}", report)


def _move_aside(directory: QueueDirectory, path: str, report: Report) -> str:
    kept = f"{directory.quarantine}/{time.time_ns()}-{os.path.basename(path)}"
    os.rename(f"{directory.root}/{path}", kept)
    sync_path(directory.quarantine)
    report(QueueDamaged(f"{path} was moved to {kept}"))
    return kept
