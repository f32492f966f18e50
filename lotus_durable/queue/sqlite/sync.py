"""The background sync of the database's log, and of the spill."""

from __future__ import annotations

from collections.abc import Callable

from lotus_durable.errors import DiskRefused, LotusError
from lotus_durable.queue.directory import QueueDirectory, sync_directory
from lotus_durable.queue.sync import JournalSync

from .connection import Database, sync


class SqliteSync:
    """See :class:`~.protocol.BackgroundSync`. For one thread."""

    def __init__(self, directory: QueueDirectory, database: Database, report: Callable[[LotusError], None]) -> None:
        self._directory = directory
        self._database = database
        self._report = report
        self._spill = JournalSync(directory, report)
        self._failed = False

    def run(self) -> None:
        """Sync once; what fails is said once and tried again."""
        self._spill.run()
        try:
            sync(self._database.path)
            sync_directory(self._directory.store)
        except FileNotFoundError:
            return
        except OSError as error:
            if not self._failed:
                self._report(DiskRefused(f"the log of the queue's database could not be synced: {error}"))
            self._failed = True
        else:
            self._failed = False
