"""Which generation of the server a host is: how it is told, and where that is remembered.

Two questions tell, both of them reads. ``GET /api/ping/`` exists since the server of 2024: it answers JSON, 200 or,
with a key it does not know, 401. On the server of 2022 it is a 404 page; but so it is on any other web server, so
``GET /api/customer_access/`` without arguments has to answer too: 400 JSON there, or 403 with a key it does not know.

What was found is remembered in memory and, for other processes and the next start, in ``server.json`` in the queue
directory. It is asked again after a day, and at once when an answer contradicts it: a path that must exist does not,
or an error comes in the other generation's form.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from lotus_durable.errors import QueueDirectoryError
from lotus_durable.http.answer import Answer, NoAnswer, json_value
from lotus_durable.queue.directory import QueueDirectory, write_atomically

from .problem import is_of_2022, is_of_2024, is_page

Generation = Literal["2022", "2024"]

PING: Final = "/api/ping/"
PATH_OF_2022: Final = "/api/customer_access/"

_TRUSTED_FOR = 86_400.0
"""Seconds."""
_FRESH_FOR = 60.0
"""Seconds."""
_MOST_BYTES = 16 * 1024
_MOST_HOSTS = 20


@dataclass(frozen=True, slots=True)
class _Finding:
    generation: Generation
    found_at: float
    """Unix seconds."""

    def holds(self, now: float) -> bool:
        # A finding from the future: the clock was set back, and it must not be trusted until it is there again.
        return 0 <= now - self.found_at < _TRUSTED_FOR


class KnownServer:
    """What is known about one host; shared by the threads of a process, and through the file with other processes.

    Args:
        host: its URL.
        directory: where it is remembered, if it exists; None to remember it in memory only.
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
            finding = self._read().get(self._host)
            if finding is None or not finding.holds(now):
                return None
            self._finding = finding
        return finding.generation

    def is_fresh(self) -> bool:
        """Whether it was found out just now, so that asking again would tell nothing new."""
        finding = self._finding
        return finding is not None and 0 <= self._now() - finding.found_at < _FRESH_FOR

    def learn(self, generation: Generation) -> None:
        """Remember what was found. A disk that refuses costs two requests in the next process, and nothing else."""
        finding = self._finding = _Finding(generation, self._now())
        if self._directory is None or not self._is_usable():
            return
        others = {host: one for host, one in self._read().items() if host != self._host and one.holds(self._now())}
        newest = [*others.items()][-_MOST_HOSTS:]
        content = {
            host: {"generation": one.generation, "found_at": one.found_at}
            for host, one in [*newest, (self._host, finding)]
        }
        try:
            write_atomically(self._directory.servers, json.dumps(content).encode(), durable=False)
        except OSError:
            return

    def _is_usable(self) -> bool:
        """Whether the queue directory exists and is nobody else's; it is never created for this."""
        assert self._directory is not None
        try:
            self._directory.check()
        except (OSError, QueueDirectoryError):
            return False
        return True

    def _read(self) -> dict[str, _Finding]:
        if self._directory is None or not self._is_usable():
            return {}
        try:
            with open(self._directory.servers, "rb") as file:
                content: Any = json.loads(file.read(_MOST_BYTES))
            return {
                host: _Finding(_checked(one["generation"]), float(one["found_at"])) for host, one in content.items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}


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
