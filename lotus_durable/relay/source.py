"""A broker's queue as the source of a relay's loop.

The relay has a queue directory of its own, with nothing in its journal but what a person has put there. Its books keep
what became of the events that came by the broker: counters, parked events, dead letters, ids. A message is acknowledged
when all its events are settled there.

A cursor of a message stands in the books while a part of it is settled, or where one of its events was parked or is a
dead letter: so none is stored twice when a relay is killed before it could acknowledge.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lotus_durable.errors import DeliveryBlocked
from lotus_durable.log import counted
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Progress
from lotus_durable.queue.identity import NO_KEY
from lotus_durable.queue.journal import keep_aside
from lotus_durable.queue.protocol import Cursor, Report, Settlement
from lotus_durable.queue.reader import Chunk, Damage

from .address import BrokerTrouble
from .message import Events, LaterVersion, NotOurs, decode
from .session import Received, Session

logger: logging.Logger = logging.getLogger("lotus_durable")

_MESSAGES_OF_A_PASS = 1_000
"""After which the loop sees to parked events and to what is asked, however many more come."""


@dataclass(slots=True)
class _Message:
    """A message that is not acknowledged."""

    reply_to: str | None
    """Where somebody waits until all is settled that came before it."""
    size: int
    """How many events it has; a mark has none."""
    settled: int
    """How many of them are."""


class FromBroker:
    """What comes by a session, after what lies in the relay's own directory; see :class:`.delivery.place.Source`.

    Args:
        own: of that directory.
        session: with the broker.
        directory: the same.
        report: told of messages that cannot be read.
        answer: tells who waits whether all is settled that came before his mark, or why not; may raise BrokerTrouble.
    """

    def __init__(
        self,
        own: Consumer,
        session: Session,
        directory: QueueDirectory,
        report: Report,
        answer: Callable[[str, str], None],
    ) -> None:
        self._own = own
        self._session = session
        self._directory = directory
        self._report = report
        self._answer = answer
        self._reads_own = True
        self._left_in_pass = _MESSAGES_OF_A_PASS
        self._held: dict[bytes, _Message] = {}
        """Those that are not settled to their ends."""
        self._later: set[bytes] = set()
        self._done: list[bytes] = []
        self._asking: list[tuple[bytes, str]] = []
        """Of the marks that are done, those for whom somebody waits."""
        self._is_safe = True
        """What the books say of those that are done survives a power cut, or need not."""
        self._to_forget: dict[bytes, int] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # for those that are not here
        """Return what is the relay's own directory's: what is parked, learned and delivered lately, and its clock."""
        return getattr(self._own, name)

    @property
    def in_doubt_since(self) -> float | None:
        """When the relay that was active before may have begun its last request."""
        return self._session.in_doubt_since

    def read(self, limit: int) -> Chunk | None:
        """Return what is to be sent of one message, however many events; None at the end of a pass."""
        if self._reads_own:
            if (chunk := self._own.read(limit)) is not None:
                return chunk
            self._reads_own = False
        while self._left_in_pass and (received := self._session.take()) is not None:
            self._left_in_pass -= 1
            if (chunk := self._chunk(received)) is not None:
                return chunk
        self._reads_own, self._left_in_pass = True, _MESSAGES_OF_A_PASS
        return None

    def settle(self, settlement: Settlement) -> None:
        """Commit, and then have the broker forget what is settled to its end."""
        keeps = bool(settlement.parked or settlement.dead)
        keys = ((bytes.fromhex(source), position) for source, position in settlement.through.items())
        mine = [(key, position, self._held[key]) for key, position in keys if key in self._held]
        cursors = {
            key: Cursor(f"message-{key.hex()}", 0, position)
            for key, position, message in mine
            if keeps or message.settled or position < message.size
        }
        accepted = sum(position - message.settled for _, position, message in mine)
        self._own.settle(settlement._replace(cursors=cursors, accepted=accepted))
        self._is_safe = self._is_safe and not keeps
        for key, position, message in mine:
            message.settled = position
            if position == message.size:
                del self._held[key]
                if message.reply_to is None:
                    self._done.append(key)
                else:
                    self._asking.append((key, message.reply_to))
                if key in cursors:
                    self._to_forget[key] = position
        self._acknowledge()

    def progress(self) -> Progress:  # what is held and not settled is pending
        found = self._own.progress()
        held = sum(message.size - message.settled for message in self._held.values())
        counts = found.counts
        return found._replace(counts=counts._replace(accepted=counts.accepted + held, pending=counts.pending + held))

    def left_alone(self) -> tuple[int, str | None]:
        events, reason = self._own.left_alone()
        return events + len(self._later), self._why_left() or reason

    def _why_left(self) -> str:
        later = f"{counted(len(self._later), 'message')} of a later version of lotus-durable: update the relay"
        return later if self._later else ""

    def retire(self) -> None:
        """Delete what is no longer needed, and answer who waits."""
        self._own.retire()
        self._acknowledge()
        with suppress(BrokerTrouble):  # after the next pass, then
            while self._asking:
                key, reply_to = self._asking[0]
                self._answer(reply_to, self._why_left())
                self._session.acknowledge(key)
                del self._asking[0]
        if self._to_forget:
            self._own.forget(self._to_forget)
            self._to_forget = {}

    def _acknowledge(self) -> None:
        """Acknowledge what is done. The broker has what has left something here until then, then only this disk."""
        try:
            if not self._is_safe:
                self._own.make_safe()
        except OSError as error:
            logger.warning("the disk refuses to sync; messages stay in the broker's queue until it does: %s", error)
            return
        self._is_safe = True
        for key in self._done:
            self._session.acknowledge(key)
        self._done = []

    def _chunk(self, received: Received) -> Chunk | None:
        """Return what is to be sent of a message: nothing of a mark, or a settled one; None where it is left alone."""
        source, damage = received.key.hex(), None
        try:
            message = decode(received.body)
        except LaterVersion as error:
            self._later.add(received.key)
            self._report(DeliveryBlocked(f"a message is left in the broker's queue: {error}; update the relay"))
            return None
        except NotOurs as error:
            message, words = Events(NO_KEY, (b"",)), f"a message of the broker's queue cannot be read: {error}"
            damage = Damage(f"message-{source}", 0, received.body, 1, words)
        size = len(message.records)
        settled = min(size, self._own.reached(received.key))
        if settled:  # by an earlier relay of this directory, which has perhaps not made that safe
            self._is_safe = False
        if received.reply_to is not None:
            self._left_in_pass = 0
        self._held[received.key] = _Message(received.reply_to, size, settled)
        positions = range(settled + 1, size + 1) or (size,)
        if damage is None or settled:
            # in_rows: what was tracked under a key that is not ours is parked, for nothing passes it in a queue.
            key = message.key if size else NO_KEY
            return Chunk(source, message.records[settled:], positions, key=key, in_rows=True)
        keep_aside(self._directory, damage, self._report)
        return Chunk(source, (), positions, damage)
