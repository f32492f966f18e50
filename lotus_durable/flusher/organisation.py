"""One queue, one organisation: what one application tracked is never sent with another's key.

Whose a key is, only the server of 2024 can say (``GET /api/ping/``). What it said stands in the books, by the key's
fingerprint, so that a known key needs no question. While the server cannot be asked about a key that is new to a queue
with an organisation, nothing is sent.

Under which key events were tracked, their segment says, by its fingerprint. They are sent with ours where the server
has said that both keys are one organisation's, or a person has: the key was replaced in the very file (or environment
file) that a flusher reads, or somebody ran ``lotus-durable adopt``. Otherwise they wait, also on the server of 2022,
which can say nothing. What was tracked without a key is anybody's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from lotus_durable.calls.generation import PATH_OF_2022, PING, Generation, is_2022, is_2024, told_by
from lotus_durable.config import Config
from lotus_durable.delivery.place import Source
from lotus_durable.http.answer import Answer, NoAnswer, json_value
from lotus_durable.http.connection import Connection
from lotus_durable.http.routes import Routes
from lotus_durable.queue.consumer import HOST
from lotus_durable.queue.contents import read_learned
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.identity import NO_KEY, fingerprint
from lotus_durable.queue.requests import ask
from lotus_durable.values import NamedTuple

ORGANISATION = "organisation"
_GENERATION = "generation"


class Obstacle(NamedTuple):
    """Why this key may not flush this queue."""

    reason: str
    is_final: bool = False
    """No waiting changes it."""
    reaches: bool = True
    """Whether a connection could be made."""


def may_replace(config: Config, directory: QueueDirectory) -> bool:
    """Tell whether a flusher with this configuration may ask the one that flushes to make way.

    With the same key it may. With another one only where the server says that both are one organisation's: what was
    tracked with one organisation's key is never sent with another's. Where nobody can say whose the events are (no key
    was good yet, or it is the server of 2022), a key that the server refuses makes way to one that it takes, by the
    same rule as for the next flusher of the queue.
    """
    beat = read_beat(directory)
    if beat is None or config.api_key is None:
        return True
    key = fingerprint(config.api_key)
    if key == beat.program.key:
        return True
    ours = read_learned(directory.books, ORGANISATION)
    theirs = read_learned(directory.books, key_name(key))
    routes = Routes(config.host)
    if theirs is None and (ours is not None or beat.key_refused):
        theirs = _organisation_in(_ask(config, routes, PING))
    if ours is not None:
        if theirs not in (None, ours):
            with contextlib.suppress(OSError):
                ask(directory, "other organisation", key)  # so that a client with this key is refused at once
        return theirs == ours
    return beat.key_refused and (theirs is not None or _takes_key_of_2022(_ask(config, routes, PATH_OF_2022)))


def may_send(key: bytes, ours: bytes, learned: Callable[[str], str | None]) -> bool:
    """Tell whether events of another key may be sent with ours, by what the books say."""
    organisation, theirs = (learned(key_name(each)) for each in (ours, key))
    if organisation is not None and theirs is not None:
        return organisation == theirs
    seen = {key}
    while (after := learned(succession(key))) is not None:
        key = bytes.fromhex(after)
        if key == ours:
            return True
        if key in seen:  # somebody went back to a former key
            break
        seen.add(key)
    return False


class Organisation:
    """Asks the server and the books, which the source keeps, about the key with this fingerprint.

    The server is asked whatever is known (``is_asked_again``) where it has answered as another one.
    """

    def __init__(
        self, config: Config, routes: Routes, key: bytes, source: Source, *, is_asked_again: bool = False
    ) -> None:
        self._config = config
        self._routes = routes
        self.key: bytes = key
        self._source = source
        self._is_asked_again = is_asked_again

    def generation(self) -> Generation | None:
        """Return which server it is, as far as is known."""
        if self._config.api_version != "auto":
            return self._config.api_version
        if self._source.learned(HOST) != self._config.host:
            return None
        known = self._source.learned(_GENERATION)
        return known if known in ("2022", "2024") else None  # type: ignore[return-value]

    def obstacle(self) -> Obstacle | None:
        """Return why this key may not flush, None where it may; asks the server where the books do not say."""
        ours = self._source.learned(ORGANISATION)
        name = key_name(self.key)
        if self._source.learned(HOST) != self._config.host:
            self._source.learn(HOST, self._config.host)
            self._source.learn(_GENERATION, "")
        known = self._source.learned(name)
        is_known = known is not None and self.generation() is not None
        if is_known and not self._is_asked_again:
            return self._compared(known, ours)
        found, answer = told_by(lambda path: _ask(self._config, self._routes, path))
        if found is not None:
            self._source.learn(_GENERATION, found)
        if found == "2024":
            theirs = _organisation_in(answer)
            if theirs is None:
                return None  # the key is refused: delivery says so in its own words
            self._source.learn(name, theirs)
            if ours is None:
                self._source.learn(ORGANISATION, theirs)
            return self._compared(theirs, ours)
        if found is None and ours is not None and not is_known:
            return Obstacle(
                "this API key is new to the queue, and the server cannot be asked whether it is the same "
                "organisation's",
                reaches=isinstance(answer, Answer) or answer.sent,
            )
        return None

    def may_send(self, key: bytes) -> bool:
        """Tell whether events that were tracked under the key with this fingerprint may be sent with ours."""
        return key in (self.key, NO_KEY) or may_send(key, self.key, self._source.learned)

    def replaces(self, keys: Iterable[bytes]) -> None:
        """Take it from a person that ours has replaced these keys."""
        for key in keys:
            if key != self.key:
                self._source.learn(succession(key), self.key.hex())

    def _compared(self, theirs: str | None, ours: str | None) -> Obstacle | None:
        if ours is None or theirs == ours:
            return None
        return Obstacle(
            "the API key belongs to another organisation than the events in this queue: give each application a queue "
            "directory of its own",
            is_final=True,
        )


def key_name(key: bytes) -> str:
    """Return the name under which the books say whose a key is."""
    return f"key {key.hex()}"


def succession(key: bytes) -> str:
    """Return the name under which the books say which key has replaced this one."""
    return f"after {key.hex()}"


def _ask(config: Config, routes: Routes, path: str) -> Answer | NoAnswer:
    assert config.api_key is not None
    connect, read = config.timeout
    connection = Connection(routes, config.api_key, connect_timeout=connect, read_timeout=read)
    try:
        return connection.exchange("GET", path)
    finally:
        connection.close()


def _takes_key_of_2022(answer: Answer | NoAnswer) -> bool:
    # It misses the arguments; a key that it does not know it answers 403.
    return isinstance(answer, Answer) and answer.status == 400 and is_2022(answer)  # noqa: PLR2004


def _organisation_in(answer: Answer | NoAnswer) -> str | None:
    value = json_value(answer) if isinstance(answer, Answer) and is_2024(answer) else None
    found = value.get("organization_id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None
