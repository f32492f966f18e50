"""One queue, one organisation: what one application tracked is never sent with another's key.

Whose a key is, only the server of 2024 can say (``GET /api/ping/``). What it said stands in the books, by the key's
fingerprint, so that a known key needs no question. While the server cannot be asked about a key that is new to a queue
with an organisation, nothing is sent. The server of 2022 cannot say: there another key is warned about.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from lotus_durable.calls.generation import PING, Generation, is_2022, is_2024, PATH_OF_2022
from lotus_durable.config import Config
from lotus_durable.http.answer import Answer, NoAnswer, json_value
from lotus_durable.http.connection import Connection
from lotus_durable.queue.consumer import Consumer

logger = logging.getLogger("lotus_durable")

_ORGANISATION = "organisation"
_GENERATION = "generation"
_HOST = "host"
_LAST_KEY = "key"


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether this key may flush this queue."""

    may_send: bool
    reason: str | None = None
    """Why not, one sentence."""
    is_final: bool = False
    """No waiting changes it."""


class Organisation:
    """Asks the server and the books.

    Args:
        config: with the key and the server.
        key: the key's fingerprint.
        consumer: the books.
    """

    def __init__(self, config: Config, key: bytes, consumer: Consumer) -> None:
        self._config = config
        self._key = key
        self._consumer = consumer

    def generation(self) -> Generation | None:
        """Return which server it is, as far as is known."""
        if self._config.api_version != "auto":
            return self._config.api_version
        if self._consumer.learned(_HOST) != self._config.host:
            return None
        known = self._consumer.learned(_GENERATION)
        return known if known in ("2022", "2024") else None  # type: ignore[return-value]

    def rule(self) -> Ruling:
        """Tell whether this key may flush; asks the server where the books do not say.

        Raises:
            OSError: the books cannot be read or written.
        """
        ours = self._consumer.learned(_ORGANISATION)
        name = f"key {self._key.hex()}"
        if self._consumer.learned(_HOST) != self._config.host:
            self._consumer.learn(_HOST, self._config.host)
            self._consumer.learn(_GENERATION, "")
        known = self._consumer.learned(name)
        if known is not None and self.generation() is not None:
            return self._compared(known, ours)
        answer = self._ask(PING)
        if is_2024(answer):
            assert isinstance(answer, Answer)
            self._consumer.learn(_GENERATION, "2024")
            value = json_value(answer)
            theirs = value.get("organization_id") if isinstance(value, dict) else None
            if not isinstance(theirs, str):
                return Ruling(may_send=True)  # the key is refused: delivery says so in its own words
            self._consumer.learn(name, theirs)
            if ours is None:
                self._consumer.learn(_ORGANISATION, theirs)
                return Ruling(may_send=True)
            return self._compared(theirs, ours)
        if isinstance(answer, Answer) and is_2022(self._ask(PATH_OF_2022)):
            self._consumer.learn(_GENERATION, "2022")
            return self._without_word()
        if ours is not None:
            return Ruling(
                may_send=False,
                reason="this API key is new to the queue, and the server cannot be asked whether it is the same "
                "organisation's",
            )
        return Ruling(may_send=True)

    def _compared(self, theirs: str, ours: str | None) -> Ruling:
        if ours is None or theirs == ours:
            return Ruling(may_send=True)
        return Ruling(
            may_send=False,
            is_final=True,
            reason="the API key belongs to another organisation than the events in this queue: give each application a "
            "queue directory of its own",
        )

    def _without_word(self) -> Ruling:
        last = self._consumer.learned(_LAST_KEY)
        if last is not None and last != self._key.hex():
            logger.warning(
                "another API key than before is used for this queue; if it was not rotated, two applications share a "
                "queue that must not"
            )
        self._consumer.learn(_LAST_KEY, self._key.hex())
        return Ruling(may_send=True)

    def _ask(self, path: str) -> Answer | NoAnswer:
        assert self._config.api_key is not None
        connect, read = self._config.timeout
        connection = Connection(self._config.host, self._config.api_key, connect_timeout=connect, read_timeout=read)
        try:
            return connection.exchange("GET", path)
        finally:
            connection.close()
