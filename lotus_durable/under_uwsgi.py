"""What is different under uWSGI, which forks in C and by default runs none of Python's hooks."""

from __future__ import annotations

import sys


def runs_without_threads() -> bool:
    """Whether this is uWSGI, started so that no thread runs between two requests."""
    uwsgi = sys.modules.get("uwsgi")
    options = getattr(uwsgi, "opt", {})
    return uwsgi is not None and not any(
        name in options for name in ("enable-threads", b"enable-threads", "threads", b"threads")
    )


def will_fork() -> bool:
    """Whether this is uWSGI before it forks its workers: its master, at the import of the application.

    It forks again whenever a worker dies. A process that forks so must have no thread of ours: if that wants the
    interpreter lock, or imports, at the moment of the fork, then the child waits for it for ever (measured: workers
    that never answer). The workers have their own, from their first event on.
    """
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is not None and uwsgi.worker_id() == 0
