"""Which generation of the server a host is: how it is told, and where that is remembered.

Two questions tell, both of them reads. ``GET /api/ping/`` exists since the server of 2024: it answers JSON, 200 or,
with a key it does not know, 401 in a form of its own: a gateway before the server of 2022 may refuse a key, too, and
that one, taken for the other, would lose events. On the server of 2022 it is a 404 page; but so it is on any other web
server, so ``GET /api/customer_access/`` without arguments has to answer too: 400 JSON there, or 403 with a key it does
not know.

What was found is remembered in memory; what the flusher has found stands in its books, where other processes look
first. It is asked again when an answer contradicts it (a path that must exist does not, or an error comes in the other
generation's form), and when it cannot do what is asked of it: it may have been replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

from lotus_durable.config import Config
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.http.answer import Answer, NoAnswer, json_value
from lotus_durable.queue.contents import read_learned
from lotus_durable.queue.directory import QueueDirectory

from .problem import is_of_2022, is_of_2024, is_page

Generation = Literal["2022", "2024"]

PING: Final = "/api/ping/"
PATH_OF_2022: Final = "/api/customer_access/"


def known_generation(config: Config) -> Generation | None:
    """Return what the flusher has found out about this host, as the books of the queue say; None if they do not."""
    directory = QueueDirectory(config.queue_dir)
    try:
        directory.check()
        if read_learned(directory.books, "host") == config.host:
            known = read_learned(directory.books, "generation")
            return next((each for each in get_args(Generation) if each == known), None)
    except (OSError, QueueDirectoryError):
        pass  # no queue, or one that cannot be used: the server is asked
    return None


def told_by(ask: Callable[[str], Answer | NoAnswer]) -> tuple[Generation | None, Answer | NoAnswer]:
    """Ask which generation a server is, by GET requests for paths; None if that cannot be told, and the last answer."""
    answer = ask(PING)
    if is_2024(answer):
        return "2024", answer
    if isinstance(answer, Answer) and answer.status == 404 and is_page(answer):  # noqa: PLR2004
        answer = ask(PATH_OF_2022)
        if is_2022(answer):
            return "2022", answer
    return None, answer


def is_2024(ping: Answer | NoAnswer) -> bool:
    """Tell whether this answer to ``PING`` is the server of 2024."""
    if isinstance(ping, NoAnswer):
        return False
    value = json_value(ping)
    if ping.status == 200:  # noqa: PLR2004  # the status of success
        return isinstance(value, dict) and "organization_id" in value
    return ping.status in (401, 403) and is_of_2024(value)


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
