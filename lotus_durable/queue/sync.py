"""The background sync: bounds what a power cut can take to ``sync_interval``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from lotus_durable.errors import DiskRefused, LotusError

from .directory import FILE_MODE, QueueDirectory, failed_mark, sync_directory

logger = logging.getLogger("lotus_durable")


class JournalSync:
    """See :class:`~.protocol.BackgroundSync`. For one thread.

    Syncs what was appended since the last time, in every segment, whoever writes it.
    """

    def __init__(self, directory: QueueDirectory, report: Callable[[LotusError], None]) -> None:
        self._directory = directory
        self._report = report
        self._synced: dict[str, int] = {}
        self._failed: set[str] = set()
        self._named: set[str] = set()  # segments whose names are synced
        self._names_failed = False

    def run(self) -> None:
        """Sync once; a segment whose sync fails is not tried again, and its writer is told to go on in a new one."""
        try:
            names = self._directory.segments()
        except OSError:
            return  # the leader, which reads them, will tell
        for name in names:
            if name not in self._failed:
                self._sync(name)
        current = set(names)
        if not current <= self._named:
            self._sync_names(current)
        self._synced = {name: size for name, size in self._synced.items() if name in current}
        self._failed &= current
        self._named &= current

    def _sync(self, name: str) -> None:
        path = self._directory.journal / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # retired meanwhile, or not readable now: the next run will tell
        try:
            size = os.fstat(descriptor).st_size
            if size != self._synced.get(name):
                os.fdatasync(descriptor)
                self._synced[name] = size
        except OSError as error:
            self._failed.add(name)
            self._report(DiskRefused(f"segment {name} could not be synced ({error}); its writer moves on to a new one"))
            self._mark_failed(name)
        finally:
            os.close(descriptor)

    def _sync_names(self, names: set[str]) -> None:
        try:
            sync_directory(self._directory.journal)
        except OSError as error:
            # There is no other directory to go on in: tried again with each run, and said once.
            if not self._names_failed:
                self._report(DiskRefused(f"the journal's directory could not be synced: {error}"))
            self._names_failed = True
        else:
            self._named, self._names_failed = names, False

    def _mark_failed(self, name: str) -> None:
        mark = self._directory.journal / failed_mark(name)
        try:
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        except OSError as error:
            logger.warning("cannot leave the mark %s for the writer: %s", mark, error)
