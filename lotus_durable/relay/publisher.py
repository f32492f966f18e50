"""Publishing: a message is done when the broker has confirmed it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from lotus_durable.clock import monotonic
from lotus_durable.values import NamedTuple

from .address import Address, BrokerBlocked, BrokerTrouble, Node
from .connection import ANSWER_TIMEOUT, Message, Opened, text_of
from .message import REPLIES, mark

Meanwhile = Callable[[str | None], None]
"""Called about twice a second of waiting, with why the broker takes nothing now, if it says so."""

_CONFIRM_TIMEOUT = 10.0
"""Seconds for a confirm, then another node is tried: one that is cut off confirms nothing, and says nothing. A queue
whose leader's node is killed goes on within one second, one whose leader is cut off within nine. What was not confirmed
is published again and may be there twice then, so each wait that was in vain makes the next one twice as long."""
_LONGEST_CONFIRM_TIMEOUT = 60.0
_LOOK_INTERVAL = 0.5
_ASK_INTERVAL = 60.0
"""Seconds. Somebody may empty the queue, and what goes from one node to another for an answer is kept nowhere."""
_BLOCKED = "the broker takes nothing now, for its alarm of memory or disk"


class _Line(Opened):
    """A connection that publishes."""

    def __init__(self, address: Address, node: Node) -> None:
        super().__init__(address, node)
        self._last = 0
        self.unconfirmed: set[int] = set()
        self.blocked_by: str | None = None
        self.declare()
        with self.dropped_on_failure():
            self.channel = self.connection.channel()
            self.channel.events["basic_ack"].add(self._confirm)
            self.channel.events["basic_nack"].add(_refuse)
            self.channel.events["basic_return"].add(_return)
            self.connection.on_blocked = self.connection.on_unblocked = self._block
            self.channel.confirm_select()

    def publish(self, body: bytes, to: str | None, properties: Mapping[str, str]) -> Sent:
        """Publish a message; see :meth:`Publisher.send`."""
        message = Message(body, delivery_mode=2, **properties)
        with self.dropped_on_failure():
            self._last += 1
            self.unconfirmed.add(self._last)
            # Mandatory, but for answers, which go to no queue: else what reaches none would be confirmed, too.
            queue, is_mandatory = (self._queue, True) if to is None else (to, False)
            self.channel.basic_publish(message, "", queue, mandatory=is_mandatory, timeout=ANSWER_TIMEOUT)
        return Sent(self, self._last)

    def _confirm(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  # the library's
        """Take a confirm for those that it is for, and no others: the library takes the first one that comes."""
        self.unconfirmed -= {each for each in self.unconfirmed if each == tag or (multiple and each < tag)}

    def _block(self, *reason: str) -> None:
        self.blocked_by = _BLOCKED if reason else None


def _refuse(*_: object) -> None:
    raise BrokerTrouble("the broker refuses the message: the queue is full (max-length), or its leader is gone")


def _return(error: Exception, *_: object) -> None:
    raise BrokerTrouble(f"the queue is gone: {error}")


class Sent(NamedTuple):
    """A message that was published."""

    line: _Line
    tag: int


class Publisher:
    """Publishes to the queue, over one connection after the other. For one thread."""

    def __init__(self, address: Address, first: Node | None = None) -> None:
        self._address = address
        # At random, so that a fleet's hosts do not all begin with the same node.
        self._next = os.urandom(1)[0] if first is None else address.nodes.index(first) - 1
        self._line: _Line | None = None
        self._confirm_timeout = _CONFIRM_TIMEOUT

    def send(self, body: bytes, *, to: str | None = None, **properties: str) -> Sent:
        """Publish a message, to the queue or to whoever asked for an answer, and do not wait for its confirm.

        Raises:
            BrokerTrouble: it cannot be published; it may be in the queue all the same.
        """
        return self._open().publish(body, to, properties)

    def wait(self, sent: Sent, meanwhile: Meanwhile) -> None:
        """Return when the broker has confirmed that a majority of the queue's nodes has a message.

        Raises:
            BrokerTrouble: it has not; the message may be in the queue all the same.
        """
        ends = monotonic() + self._confirm_timeout
        while sent.tag in sent.line.unconfirmed:
            if not sent.line.drain(_LOOK_INTERVAL):
                meanwhile(sent.line.blocked_by)
                # What is blocked will be taken: to publish it again would make one more of it.
                if sent.line.blocked_by is None and monotonic() > ends:
                    self._confirm_timeout = min(2 * self._confirm_timeout, _LONGEST_CONFIRM_TIMEOUT)
                    sent.line.drop()
                    raise BrokerTrouble("the broker does not confirm: too few of its nodes are up")
        self._confirm_timeout = _CONFIRM_TIMEOUT

    def ask(self, meanwhile: Meanwhile) -> str:
        """Publish a mark, and return what a relay answers; now and then another mark, for one may be lost."""
        answers: list[Any] = []
        line, asks_at = self._open(), monotonic()
        with line.dropped_on_failure():
            line.channel.basic_consume(REPLIES, no_ack=True, callback=answers.append)
        while not answers:
            if monotonic() >= asks_at:
                asks_at = monotonic() + _ASK_INTERVAL
                self.wait(self.send(mark(), reply_to=REPLIES), meanwhile)
            elif not line.drain(_LOOK_INTERVAL):
                meanwhile(line.blocked_by)
        return text_of(answers[0].body)

    def close(self) -> None:
        if self._line is not None:
            self._line.drop()

    def _open(self) -> _Line:
        """Return the connection, or a new one, to the next node."""
        if self._line is None or self._line.is_dropped:
            self._next = (self._next + 1) % len(self._address.nodes)
            self._line = _Line(self._address, self._address.nodes[self._next])
        return self._line


def wait_through(address: Address, ends_at: float, watch: Callable[[], None]) -> str:
    """Return nothing when a relay has settled everything that is in the queue now, else why not: by a mark behind it.

    It is given up at ``ends_at``, by the monotonic clock.
    """

    def look(_: str | None) -> None:
        watch()
        if monotonic() >= ends_at:
            raise BrokerTrouble("no relay has delivered it in time")

    with contextlib.closing(Publisher(address)) as publisher:
        while True:
            try:
                return publisher.ask(look)
            except BrokerTrouble as trouble:
                if isinstance(trouble, BrokerBlocked) or monotonic() >= ends_at:
                    return str(trouble)
            watch()
            time.sleep(_LOOK_INTERVAL)
