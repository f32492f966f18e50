"""Publishing: a message is done when the broker has confirmed it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import amqp

from lotus_durable.clock import monotonic

from .address import Address, BrokerTrouble, Node
from .connection import ANSWER_TIMEOUT, Opened, trouble_of
from .message import REPLIES

Meanwhile = Callable[[str | None], None]
"""Called about twice a second of waiting, with why the broker takes nothing now, if it says so."""

_CONFIRM_TIMEOUT = 10.0
"""Seconds for a confirm, then another node is tried: one that is cut off confirms nothing, and says nothing. A queue
whose leader's node is killed goes on within one second, one whose leader is cut off within nine. What was not confirmed
is published again and may be there twice then, so each wait that was in vain makes the next one twice as long."""
_LONGEST_CONFIRM_TIMEOUT = 60.0
_LOOK_INTERVAL = 0.5
_BLOCKED = "the broker takes nothing now, for its alarm of memory or disk"


class Sent:
    """A message that waits for its confirm."""

    is_done: bool = False
    trouble: str | None = None
    """Why it is not in the queue, or may not be."""


class Publisher:
    """Publishes to the queue. For one thread.

    Args:
        address: of the queue.
        first: the node to begin with.
    """

    def __init__(self, address: Address, first: Node | None = None) -> None:
        self._address = address
        # At random, so that a fleet's hosts do not all begin with the same node.
        self._next = os.urandom(1)[0] if first is None else address.nodes.index(first)
        self._opened: Opened | None = None
        self._tag = 0
        self._waiting: dict[int, Sent] = {}
        """By their tags, in order."""
        self._is_blocked = False
        self._confirm_timeout = _CONFIRM_TIMEOUT

    def send(self, body: bytes, *, to: str | None = None, **properties: str) -> Sent:
        """Publish a message, and do not wait for its confirm.

        Args:
            body: of the message.
            to: whoever asked for an answer, instead of the queue.
            properties: of the message.

        Raises:
            BrokerTrouble: it cannot be published; it may be in the queue all the same.
        """
        with self._dropping():
            channel = self._channel()
            self._tag += 1
            sent = self._waiting[self._tag] = Sent()
            message = amqp.Message(body, delivery_mode=2, **properties)
            # Mandatory, but for answers, which go to no queue: else what reaches none would be confirmed, too.
            queue, is_mandatory = (self._address.queue, True) if to is None else (to, False)
            channel.basic_publish(message, "", queue, mandatory=is_mandatory, timeout=ANSWER_TIMEOUT)
            return sent

    def wait(self, sent: Sent, meanwhile: Meanwhile) -> None:
        """Return when the broker has confirmed that a majority of the queue's nodes has a message.

        Raises:
            BrokerTrouble: it has not; the message may be in the queue all the same.
        """
        with self._dropping():
            ends = monotonic() + self._confirm_timeout
            while not sent.is_done:
                # What is blocked will be taken: to publish it again would make one more of it.
                if not self._drain(meanwhile) and not self._is_blocked and monotonic() > ends:
                    self._confirm_timeout = min(2 * self._confirm_timeout, _LONGEST_CONFIRM_TIMEOUT)
                    raise BrokerTrouble("the broker does not confirm: too few of its nodes are up")
            if sent.trouble is not None:
                raise BrokerTrouble(sent.trouble)
            self._confirm_timeout = _CONFIRM_TIMEOUT

    def ask(self, body: bytes, meanwhile: Meanwhile) -> None:
        """Publish a message, and return when somebody has answered it.

        Raises:
            BrokerTrouble: the connection is lost before that.
        """
        answers: list[object] = []
        with self._dropping():
            self._channel().basic_consume(REPLIES, no_ack=True, callback=answers.append)
        self.wait(self.send(body, reply_to=REPLIES), meanwhile)
        with self._dropping():
            while not answers:
                self._drain(meanwhile)

    def close(self) -> None:
        """Drop the connection; the next one goes to another node."""
        opened, self._opened = self._opened, None
        self._next += 1
        if opened is not None:
            opened.drop()
        self._settle(self._tag, is_multiple=True, trouble="the connection to the broker is lost")

    def _channel(self) -> Any:  # noqa: ANN401  # the library's
        if self._opened is None:
            opened = self._opened = Opened(self._address, self._address.node(self._next))
            self._tag, self._is_blocked = 0, False
            channel, connection = opened.channel, opened.connection
            channel.events["basic_ack"].add(lambda tag, multiple: self._settle(tag, is_multiple=multiple))
            channel.events["basic_nack"].add(self._refuse)
            channel.events["basic_return"].add(self._return)
            connection.on_blocked = lambda _: self._block(is_blocked=True)
            connection.on_unblocked = lambda: self._block(is_blocked=False)
            channel.confirm_select()
        return self._opened.channel

    def _drain(self, meanwhile: Meanwhile) -> bool:
        """Take what comes; return whether something has."""
        if self._opened is None:
            raise BrokerTrouble("the connection to the broker is lost")
        try:
            self._opened.connection.drain_events(timeout=_LOOK_INTERVAL)
        except TimeoutError:
            meanwhile(_BLOCKED if self._is_blocked else None)
            return False
        return True

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        """Drop the connection whatever goes wrong."""
        try:
            yield
        except BaseException as error:
            node = self._address.node(self._next)
            self.close()
            if isinstance(error, OSError | amqp.AMQPError):
                raise trouble_of(error, node) from error
            raise

    def _settle(self, tag: int, *, is_multiple: bool, trouble: str | None = None) -> None:
        """Take a confirm for those that it is for, and no others: the library takes the first one that comes."""
        for each in [each for each in self._waiting if each == tag or (is_multiple and each < tag)]:
            sent = self._waiting.pop(each)
            sent.is_done, sent.trouble = True, trouble

    def _refuse(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  # the library's
        trouble = "the broker refuses the message: the queue is full (max-length), or its leader is gone"
        self._settle(tag, is_multiple=multiple, trouble=trouble)

    def _return(self, error: Exception, *_: object) -> None:
        raise BrokerTrouble(f"the queue is gone: {error}")

    def _block(self, *, is_blocked: bool) -> None:
        self._is_blocked = is_blocked
