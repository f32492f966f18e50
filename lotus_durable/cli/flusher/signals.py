"""What the flusher does at a signal, and when its standard input ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

_STOP = (signal.SIGTERM, signal.SIGINT)
_ALL = (*_STOP, signal.SIGHUP)


class Told(Protocol):
    """Who is told. Called from threads of their own; must return soon and raise nothing."""

    def stop(self, why: str) -> None:
        """End after the request in flight."""

    def reload(self) -> None:
        """Read the configuration again."""


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Let the signals wait until somebody listens, from now on and in every thread that is started inside."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def listen(told: Told) -> None:
    """Tell of signals: the first SIGTERM or SIGINT stops it, the second ends the process at once, SIGHUP reloads.

    A thread of its own waits for them, and they are blocked everywhere: a handler would run in the main thread in the
    middle of anything, also while that holds the lock that stopping it needs.
    """

    def wait() -> None:
        told.stop(_wait_for_the_end(told.reload).name)
        os._exit(128 + _wait_for_the_end(lambda: None))

    _in_background(wait, "signals")


def stop_at_end_of_input(told: Told) -> None:
    """Stop when standard input ends: whoever held the other end of that pipe is gone.

    That is how a process learns of the end of its starter: a pid could be another's by now, and a starter that is
    killed says nothing.
    """
    descriptor = sys.__stdin__.fileno() if sys.__stdin__ is not None else 0

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(descriptor, 4096):
                pass
        told.stop("end of standard input")

    _in_background(read, "input")


def _wait_for_the_end(reload: Callable[[], None]) -> signal.Signals:
    while (number := signal.Signals(signal.sigwait(_ALL))) not in _STOP:
        reload()
    return number


def _in_background(run: Callable[[], None], name: str) -> None:
    threading.Thread(target=run, name=f"lotus_durable {name}", daemon=True).start()
