"""Imports that no fork can cut in two.

Heavy modules are imported where they are first needed, some of them in a thread. A fork in the middle of an import
leaves the child with half a module, and with a lock on it that nobody will ever release: whoever imports it next
there, we or the application, gets an ImportError or waits for ever. (Seen with ``gunicorn --preload`` and an event
tracked when the application is imported: workers that never upload, and that never end.) So such imports are made in
:func:`uncut`, and a fork waits for it: once in a process's life, some 100 ms at the most.

Hooks that run before a fork run in the opposite order of their registration. Ours must be the first to run: others
take locks (logging's and filelock's do) that an import may need, which we wait for. So they are registered again when
logging is there, and when filelock is. That leaves the import of filelock itself, whose own hooks come in the middle
of it. It is made by the thread that tracks the first event; a fork by another thread in these milliseconds waits in
vain, for :data:`_PATIENCE`, and what it makes is a process that does not upload (:func:`was_cut`).

A fork that runs no hooks, as uWSGI's, cannot wait; so a process that will fork so has no thread of ours at all
(:mod:`~lotus_durable.under_uwsgi`). Where one forks so all the same, the child notices by its pid that the lock is not
its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

WAS_CUT = "was forked while its parent was importing what uploading needs"

_PATIENCE = 5.0
"""Seconds that a fork waits for an import to end."""

_lock = threading.RLock()
"""Held while importing. Reentrant: what is imported may import."""

_forks: dict[int, list[bool]] = {}
"""For each thread that forks, whether its hooks took the lock."""
_hooked: set[str] = set()
_was_cut = False
_pid = os.getpid()


@contextlib.contextmanager
def uncut() -> Iterator[None]:
    """Import inside it, and a fork in another thread waits for the end."""
    with _our_lock():
        import logging

        del logging
        _hook("after logging")
        yield


def was_cut() -> bool:
    """Whether this process, or an ancestor, was forked in the middle of an import all the same.

    It must not import what was being imported, so it cannot upload.
    """
    _our_lock()
    return _was_cut


def _our_lock() -> threading.RLock:
    """Return the lock of this process, a new one in a child whose fork ran no hooks."""
    global _lock, _pid, _was_cut  # noqa: PLW0603  # the state of this process, which begins here
    pid = os.getpid()
    if pid != _pid:
        # Held by a thread that is not here: it was importing, and nobody will ever end that or let go.
        if _lock.acquire(blocking=False):
            _lock.release()
        else:
            _was_cut = True
        _forks.clear()
        _lock, _pid = threading.RLock(), pid
    return _lock


def import_for_tracking() -> None:
    """Import what the first event needs, when a program is being set up rather than in its first request."""
    with uncut():
        import lotus_durable.client

        # For the thread that the first event starts. In a process that was cut there is none, and one of these modules
        # may be among those that nobody will ever finish.
        if not was_cut():
            import lotus_durable.delivery.candidate
            import lotus_durable.flusher.look  # noqa: F401


def import_for_sqlite() -> None:
    """Import what the first event needs with the SQLite backend."""
    with uncut():
        import lotus_durable.queue.sqlite.queue

        if not was_cut():
            import lotus_durable.queue.sqlite.pending  # noqa: F401


def import_for_delivery() -> None:
    """Import all that delivering events will ever need, so that nothing is left to be imported later."""
    import filelock

    del filelock
    _hook("after filelock")
    with _our_lock():
        import email.utils
        import encodings.idna
        import sqlite3

        import persistqueue
        import requests

        from lotus_durable.http import failure, session

        with contextlib.suppress(ImportError):
            import orjson

            del orjson
        del email, encodings, sqlite3, persistqueue, requests, failure, session


def _hook(stage: str) -> None:
    """Register the hooks once for each stage."""
    if stage not in _hooked:
        _hooked.add(stage)
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )


def _before_fork() -> None:
    taken = _forks.setdefault(threading.get_ident(), [])
    has_waited_in_vain = bool(taken) and not taken[-1]
    taken.append(not has_waited_in_vain and _lock.acquire(timeout=_PATIENCE))


def _after_fork_in_parent() -> None:
    taken = _forks.get(threading.get_ident())
    if taken and taken.pop():
        _lock.release()
    if not taken:
        _forks.pop(threading.get_ident(), None)


def _after_fork_in_child() -> None:
    global _lock, _pid, _was_cut  # noqa: PLW0603  # the state of this process, which begins here
    _was_cut = _was_cut or not all(_forks.get(threading.get_ident(), ()))
    _forks.clear()
    _lock, _pid = threading.RLock(), os.getpid()


_hook("at first")
