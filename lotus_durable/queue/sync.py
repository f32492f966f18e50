"""The background sync: bounds what a power cut can take to ``sync_interval``."""

from __future__ import annotations

from collections.abc import Callable

from lotus_durable.errors import DiskRefused, LotusError

from .directory import QueueDirectory, original_name, released_name
from .files import opened_to_read, regular_file_status, sync_data, sync_file_system, sync_path
from .writer import is_abandoned

_ENDED = -1
"""Stands for the size of a segment that nobody writes any more. In an outage there may be 50,000: to look at each once
a second takes a tenth of a processor."""
_MANY = 256
"""New segments at once, from which the whole file system is synced: 50,000 one by one take half a minute."""


class JournalSync:
    """Makes what was appended survive a power cut, a little later; for the flusher, in one thread.

    It syncs what was appended since the last time, in every segment, whoever writes it.
    """

    def __init__(self, directory: QueueDirectory, report: Callable[[LotusError], None]) -> None:
        self._directory = directory
        self._report = report
        # By the names their writers gave them: sizes that are synced, and segments whose sync failed.
        self._synced: dict[str, int] = {}
        self._failed: set[str] = set()
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
            names = {original_name(name): name for name in self._directory.segments()}
        except OSError:
            return  # the flusher, which reads them, will tell
        new = [each for each in names if each not in self._synced and each not in self._failed]
        if len(new) > _MANY:
            before = self._synced.copy()
            for each in new:
                self._sync(each, names[each], lambda _: None)
            if not sync_file_system(self._directory.journal):
                self._synced = before
        for each, name in names.items():
            is_done = self._synced.get(each) == _ENDED or each in self._failed
            if not is_done and not self._sync(each, name):
                self._sync(each, released_name(name))  # the flusher has let go of it meanwhile
        if new or self._names_failed:
            self._sync_names()
        self._synced = {name: size for name, size in self._synced.items() if name in names}
        self._failed &= names.keys()

    def _sync(self, segment: str, name: str, sync: Callable[[int], None] = sync_data) -> bool:
        """Return whether it was there, by that name."""
        path = f"{self._directory.journal}/{name}"
        try:
            status = regular_file_status(path)
            if status is None or status.st_size == self._synced.get(segment):
                return True  # what is no file the reader names
            with opened_to_read(path) as descriptor:
                is_ended = is_abandoned(descriptor)
                try:
                    sync(descriptor)
                    self._synced[segment] = _ENDED if is_ended else status.st_size
                except OSError as error:
                    self._failed.add(segment)
                    what = f"segment {name} could not be synced ({error}); it is delivered first, and written no more"
                    self._report(DiskRefused(what))
        except FileNotFoundError:
            return False
        except OSError:
            pass  # not readable now: the next run will tell
        return True

    def _sync_names(self) -> None:
        try:
            sync_path(self._directory.journal)
        except OSError as error:
            # There is no other directory to go on in: tried again with each run, and said once.
            if not self._names_failed:
                self._report(DiskRefused(f"the journal's directory could not be synced: {error}"))
            self._names_failed = True
        else:
            self._names_failed = False
