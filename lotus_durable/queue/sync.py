"""The background sync: bounds what a power cut can take to ``sync_interval``."""

from __future__ import annotations

import os
from collections.abc import Callable

from lotus_durable.errors import DiskRefused, LotusError

from .directory import QueueDirectory, original_name
from .files import sync_data, sync_path


class JournalSync:
    """Makes what was appended survive a power cut, a little later; for the flusher, in one thread.

    It syncs what was appended since the last time, in every segment, whoever writes it.
    """

    def __init__(self, directory: QueueDirectory, report: Callable[[LotusError], None]) -> None:
        self._directory = directory
        self._report = report
        self._synced: dict[str, int] = {}
        self._failed: set[str] = set()
        self._named: set[str] = set()  # segments whose names are synced
        self._names_failed = False

    @property
    def failed(self) -> frozenset[str]:
        """The segments that could not be synced, by the names their writers gave them.

        What they hold is at the mercy of the next power cut, so they are to be read first, and their writers to be
        told to go on elsewhere (:meth:`~.directory.QueueDirectory.let_go`).
        """
        return frozenset(self._failed)

    def run(self) -> None:
        """Sync once, report what fails, raise nothing. A segment whose sync fails is not tried again.

        After a failed sync the kernel may have dropped the dirty pages, and a second sync of the same file would report
        a success that means nothing.
        """
        try:
            names = self._directory.segments()
        except OSError:
            return  # the flusher, which reads them, will tell
        for name in names:
            if original_name(name) not in self._failed:
                self._sync(name)
        current = set(names)
        if not current <= self._named:
            self._sync_names(current)
        known = {original_name(name) for name in names}
        self._synced = {name: size for name, size in self._synced.items() if name in known}
        self._failed &= known
        self._named &= current

    def _sync(self, name: str) -> None:
        original = original_name(name)
        try:
            descriptor = os.open(f"{self._directory.journal}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # retired meanwhile, or not readable now: the next run will tell
        try:
            size = os.fstat(descriptor).st_size
            if size != self._synced.get(original):
                sync_data(descriptor)
                self._synced[original] = size
        except OSError as error:
            self._failed.add(original)
            self._report(
                DiskRefused(f"segment {name} could not be synced ({error}); it is delivered first, and written no more")
            )
        finally:
            os.close(descriptor)

    def _sync_names(self, names: set[str]) -> None:
        try:
            sync_path(self._directory.journal)
        except OSError as error:
            # There is no other directory to go on in: tried again with each run, and said once.
            if not self._names_failed:
                self._report(DiskRefused(f"the journal's directory could not be synced: {error}"))
            self._names_failed = True
        else:
            self._named, self._names_failed = names, False
