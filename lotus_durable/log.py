"""The package's logger, and the caller of ``on_error``."""

from __future__ import annotations

import contextlib
import sys
from _thread import get_ident
from _weakref import ref  # weakref itself imports more
from collections import deque
from collections.abc import Sequence
from functools import partialmethod

from lotus_durable.errors import LotusError
from lotus_durable.url import host_name, is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any

    OnError = Callable[[LotusError, list[dict[str, Any]]], object]

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
"""The levels of ``logging``."""

_NAME = "lotus_durable"
_MOST_WAITING = 100


class _Logger:
    """``logging.getLogger("lotus_durable")`` if the program has imported ``logging``, else :class:`_Unconfigured`.

    We do not import ``logging`` into a process that tracks; see :mod:`.values`.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # one of logging.Logger's
        # There is no getLogger yet while another thread is in the middle of the import.
        get = getattr(sys.modules.get("logging"), "getLogger", None)
        if get is None:
            return getattr(_unconfigured, name)
        theirs = get(_NAME)
        theirs.addFilter(_steps)
        return getattr(theirs, name)


class _Unconfigured:
    """Does what an unconfigured ``logging`` does: warnings and errors go to standard error, as text."""

    def getEffectiveLevel(self) -> int:  # noqa: N802  # logging's name
        return WARNING

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # logging's name
        return level >= WARNING

    def log(self, level: int, message: str, *values: object, exc_info: bool = False) -> None:
        if level < WARNING:
            return
        lines = [message % values if values else message]
        if exc_info:
            lines += _traceback(sys.exception())
        try:
            sys.stderr.write("\n".join([*lines, ""]))
        except (OSError, ValueError, AttributeError):
            return  # it is closed, say, and there is nobody to be told

    debug = partialmethod(log, DEBUG)
    info = partialmethod(log, INFO)
    warning = partialmethod(log, WARNING)
    error = partialmethod(log, ERROR)
    exception = partialmethod(log, ERROR, exc_info=True)


_unconfigured = _Unconfigured()

if TYPE_CHECKING:
    logger: logging.Logger
else:
    logger = _Logger()


def _traceback(error: BaseException | None) -> list[str]:
    """Return where an error was raised, and what it is: ``traceback`` is not imported for it."""
    lines = ["Traceback (most recent call last):"]
    step = error.__traceback__ if error is not None else None
    while step is not None:
        code = step.tb_frame.f_code
        lines.append(f'  File "{code.co_filename}", line {step.tb_lineno}, in {code.co_name}')
        step = step.tb_next
    return [*lines, f"{type(error).__name__}: {error}"]


class _Steps:
    """A filter of our logger, in a program with ``logging``: who gets our steps, which have the level DEBUG.

    With ``debug=True`` they go to standard error and nowhere else. Handlers get them if our own logger was given a
    level or a handler. Handlers of the root logger do not: one that tracks what is logged would log again with each
    event.
    """

    def __init__(self) -> None:
        self._clients: list[ref[object]] = []
        self._level = 0

    def follow(self, client: object, *, debug: bool) -> None:
        """Log steps for as long as there is a client with ``debug``."""
        known = [each for each in self._clients if each() is client]
        if debug and not known:
            import logging

            theirs = logging.getLogger(_NAME)
            if not self._clients:
                self._level = theirs.level
            theirs.setLevel(DEBUG)
            theirs.addFilter(self)
            self._clients.append(ref(client, self._forget))
        elif known and not debug:
            self._forget(known[0])

    def _forget(self, client: ref[object]) -> None:
        self._clients.remove(client)
        logging = sys.modules.get("logging")
        if not self._clients and logging is not None:
            logging.getLogger(_NAME).setLevel(self._level)

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether handlers get this record."""
        logging = sys.modules["logging"]
        theirs = logging.getLogger(_NAME)
        if self._clients and not theirs.handlers:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, say
                sys.stderr.write(f"{logging.Formatter(_LINE).format(record)}\n")
            return record.levelno > DEBUG and theirs.hasHandlers()
        return record.levelno > DEBUG or theirs.level > 0


_LINE = "%(asctime)s %(name)s %(process)d %(levelname)s %(message)s"
_steps = _Steps()
log_steps = _steps.follow


def counted(number: int, noun: str) -> str:
    """Return ``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def warn_if_unencrypted(host: str) -> None:
    """Say so when the API key and the events would travel in the clear, to anything but this machine."""
    if host.lower().startswith("http:") and not is_loopback(host_name(host)):
        logger.warning("host %s is not encrypted: the API key and the events travel in the clear", host)


class Reporter:
    """Calls the user's ``on_error``, which may fail and may call us; never twice at once.

    What is reported while it runs, by another thread or by itself, is passed on when it has returned.
    """

    def __init__(self, on_error: OnError | None) -> None:
        self.on_error: OnError | None = on_error
        self.abandon()

    def abandon(self) -> None:
        """Begin anew, in a forked child: whoever ran it is not here."""
        self._waiting: deque[tuple[LotusError, list[dict[str, Any]]]] = deque(maxlen=_MOST_WAITING)
        self._turn: list[None] = [None]
        self._thread = 0

    def is_running(self) -> bool:
        """Whether this thread is in ``on_error``."""
        return self._thread == get_ident()

    def __call__(self, error: LotusError, events: Sequence[dict[str, Any]] = ()) -> None:
        """Call it. What it raises is logged; not KeyboardInterrupt and SystemExit, which are for the whole program."""
        if self.on_error is None:
            return
        self._waiting.append((error, list(events)))
        while self._waiting:
            turn = self._turn  # a child that on_error forks gives back its parent's
            try:
                turn.pop()  # one step: of any number that come at once one goes on
            except IndexError:
                return  # who has it looks for more once it is given back
            try:
                self._thread = get_ident()
                if self._waiting:
                    self.on_error(*self._waiting.popleft())
            except Exception:
                logger.exception("on_error itself failed")
            finally:
                self._thread = 0
                turn.append(None)
