"""Publishing: one message after the other, each until the broker has confirmed it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import amqp

from lotus_durable.clock import monotonic

from .address import Address, Node
from .connection import ANSWER_TIMEOUT, BrokerTrouble, Opened, trouble_of

_CONFIRM_TIMEOUT = 10.0
"""Seconds for a confirm, then another node is tried: one that is cut off confirms nothing, and says nothing. A queue
whose leader's node is killed goes on within one second, one whose leader is cut off within nine. What was not confirmed
is published again and may be there twice then, so each wait that was in vain makes the next one twice as long."""
_LONGEST_CONFIRM_TIMEOUT = 60.0
_LOOK_INTERVAL = 0.5
_BLOCKED = "the broker takes nothing now, for its alarm of memory or disk"


class Publisher:
    """Publishes to the queue and waits for each confirm. For one thread.

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
        self._outcomes: dict[int, bool] = {}
        self._returned: str | None = None
        self._is_blocked = False
        self._confirm_timeout = _CONFIRM_TIMEOUT

    def publish(
        self, body: bytes, meanwhile: Callable[[str | None], None], *, to: str | None = None, **properties: str
    ) -> None:
        """Return when the broker has confirmed a message; the arguments are those of :meth:`send` and :meth:`wait`.

        Raises:
            BrokerTrouble: it has not.
        """
        self.send(body, to=to, **properties)
        self.wait(meanwhile)

    def send(self, body: bytes, *, to: str | None = None, **properties: str) -> None:
        """Publish a message, and do not wait for its confirm.

        Args:
            body: of the message.
            to: the queue, if it is another one than the address's.
            properties: of the message.

        Raises:
            BrokerTrouble: it cannot be published; it may be in the queue all the same.
        """
        with self._dropping():
            opened = self._opened or self._open()
            self._tag += 1
            self._outcomes.clear()
            self._returned = None
            message = amqp.Message(body, delivery_mode=2, **properties)
            # Not mandatory: what reaches no queue would be confirmed, too.
            opened.channel.basic_publish(message, "", to or self._address.queue, mandatory=True, timeout=ANSWER_TIMEOUT)

    def wait(self, meanwhile: Callable[[str | None], None]) -> None:
        """Return when the broker has confirmed that a majority of the queue's nodes has what was sent last.

        Args:
            meanwhile: called about twice a second, with why the broker takes nothing now, if it says so.

        Raises:
            BrokerTrouble: it has not; the message may be in the queue all the same.
        """
        with self._dropping():
            assert self._opened is not None
            ends = monotonic() + self._confirm_timeout
            while self._tag not in self._outcomes:
                try:
                    self._opened.connection.drain_events(timeout=_LOOK_INTERVAL)
                except TimeoutError:
                    # What is blocked will be taken: to publish it again would make one more of it.
                    meanwhile(_BLOCKED if self._is_blocked else None)
                    if not self._is_blocked and monotonic() > ends:
                        self._confirm_timeout = min(2 * self._confirm_timeout, _LONGEST_CONFIRM_TIMEOUT)
                        raise BrokerTrouble("the broker does not confirm: too few of its nodes are up") from None
            self._confirm_timeout = _CONFIRM_TIMEOUT
            if self._returned is not None:
                raise BrokerTrouble(f"the queue is gone: {self._returned}")
            if not self._outcomes[self._tag]:
                raise BrokerTrouble(
                    "the broker refuses the message: the queue is full (max-length), or its leader is gone"
                )

    def close(self) -> None:
        """Drop the connection; the next one goes to another node."""
        opened, self._opened = self._opened, None
        self._next += 1
        if opened is not None:
            opened.drop()

    def _open(self) -> Opened:
        opened = Opened(self._address, self._address.node(self._next))
        self._tag, self._outcomes, self._is_blocked = 0, {}, False
        channel, connection = opened.channel, opened.connection
        channel.events["basic_ack"].add(lambda tag, multiple: self._settle(tag, multiple=multiple, is_taken=True))
        channel.events["basic_nack"].add(lambda tag, multiple: self._settle(tag, multiple=multiple, is_taken=False))
        channel.events["basic_return"].add(lambda error, *_: self._return(error))
        connection.on_blocked = lambda _: self._block(is_blocked=True)
        connection.on_unblocked = lambda: self._block(is_blocked=False)
        channel.confirm_select()
        self._opened = opened
        return opened

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

    def _settle(self, tag: int, *, multiple: bool, is_taken: bool) -> None:
        if tag == self._tag or (multiple and tag > self._tag):
            self._outcomes[self._tag] = is_taken

    def _return(self, error: Exception) -> None:
        self._returned = str(error)

    def _block(self, *, is_blocked: bool) -> None:
        self._is_blocked = is_blocked
