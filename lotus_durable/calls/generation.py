"""Which generation of the server a host is: how it is told, and where that is remembered.

Two questions tell, both of them reads. ``GET /api/ping/`` exists since the server of 2024: it answers JSON, 200 or,
with a key it does not know, 401. On the server of 2022 it is a 404 page; but so it is on any other web server, so
``GET /api/customer_access/`` without arguments has to answer too: 400 JSON there, or 403 with a key it does not know.

What was found is remembered in memory; what the flusher has found stands in its books, where other processes look
first. It is asked again after a day, and at once when an answer contradicts it: a path that must exist does not, or an
error comes in the other generation's form.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

from lotus_durable.errors import QueueDirectoryError
from lotus_durable.http.answer import Answer, NoAnswer, json_value
from lotus_durable.queue.books import read_learned
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.values import NamedTuple

from .problem import is_of_2022, is_of_2024, is_page

Generation = Literal["2022", "2024"]

PING: Final = "/api/ping/"
PATH_OF_2022: Final = "/api/customer_access/"

_TRUSTED_FOR = 86_400.0
"""Seconds."""
_FRESH_FOR = 60.0
"""Seconds."""


class _Finding(NamedTuple):
    generation: Generation
    found_at: float
    """Unix seconds."""

    def holds(self, now: float) -> bool:
        # A finding from the future: the clock was set back, and it must not be trusted until it is there again.
        return 0 <= now - self.found_at < _TRUSTED_FOR


class KnownServer:
    """What is known about one host; shared by the threads of a process.

    Args:
        host: its URL.
        directory: of the queue, whose books may say it; None to remember it in memory only.
        now: returns unix seconds.
    """

    def __init__(self, host: str, directory: QueueDirectory | None, now: Callable[[], float] = time.time) -> None:
        self._host = host
        self._directory = directory
        self._now = now
        self._finding: _Finding | None = None

    def generation(self) -> Generation | None:
        """Return what was found before, if it can still be trusted."""
        now = self._now()
        finding = self._finding
        if finding is None or not finding.holds(now):
            found = self._read()
            if found is None:
                return None
            # The books do not say when that was: it is not fresh, and asked again where an answer contradicts it.
            finding = self._finding = _Finding(found, now - _FRESH_FOR)
        return finding.generation

    def is_fresh(self) -> bool:
        """Whether it was found out just now, so that asking again would tell nothing new."""
        finding = self._finding
        return finding is not None and 0 <= self._now() - finding.found_at < _FRESH_FOR

    def learn(self, generation: Generation) -> None:
        """Remember what was found, for this process."""
        self._finding = _Finding(generation, self._now())

    def _read(self) -> Generation | None:
        """Return what the flusher has found out about this host, as its books say."""
        if self._directory is None:
            return None
        try:
            self._directory.check()
            if read_learned(self._directory.books, "host") == self._host:
                return _checked(read_learned(self._directory.books, "generation"))
        except (OSError, QueueDirectoryError, ValueError):
            pass  # no queue, or one that cannot be used: the server is asked
        return None


def is_2024(ping: Answer | NoAnswer) -> bool:
    """Tell whether this answer to ``PING`` is the server of 2024."""
    if isinstance(ping, NoAnswer):
        return False
    value = json_value(ping)
    if not isinstance(value, dict):
        return False
    if ping.status == 200:  # noqa: PLR2004  # the status of success
        return "organization_id" in value
    return ping.status in (401, 403) and "detail" in value


def is_2022(answer: Answer | NoAnswer) -> bool:
    """Tell whether this answer to ``PATH_OF_2022`` without arguments is the server of 2022."""
    return not isinstance(answer, NoAnswer) and answer.status in (400, 403) and is_of_2022(json_value(answer))


def contradicts(generation: Generation, answer: Answer | NoAnswer) -> bool:
    """Tell whether a call's answer is one that a server of this generation does not give.

    Whatever it is, it refused the call: making it again in another form cannot do it twice.
    """
    if isinstance(answer, NoAnswer):
        return False
    if answer.status in (404, 405) and (is_page(answer) or answer.status == 405):  # noqa: PLR2004
        return True
    if answer.status not in (400, 401, 403, 409):
        return False
    value = json_value(answer)
    return is_of_2024(value) if generation == "2022" else is_of_2022(value)


def _checked(value: object) -> Generation:
    if value == "2022":
        return "2022"
    if value == "2024":
        return "2024"
    raise ValueError(value)
