"""Connections to the broker: what is opened, and what a failure means. Nobody else here knows the library.

A connection that has failed in any way is dropped, and the next one goes to the next node: after an error the library
opens a channel again without confirms, and a later confirm is taken for one that was waited for before. It is dropped,
never closed in order: that waits for the broker's answer, and in a forked child it would end the parent's connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import amqp

from lotus_durable.clock import monotonic

from .address import Address, Node

logger: logging.Logger = logging.getLogger("lotus_durable")

_CONNECT_TIMEOUT = 5.0
_ANSWER_TIMEOUT = 10.0
"""Seconds for one step of a connection that is open."""
_CONFIRM_TIMEOUT = 20.0
"""Seconds for a confirm: a queue that loses its leader's node goes on within one, and where two of three nodes are gone
there is none. What was not confirmed is published again, so a short one makes repeats."""
_LOOK_INTERVAL = 0.5
_BLOCKED = "the broker takes nothing now, for its alarm of memory or disk"
_LATENCY = {"TCP_USER_TIMEOUT": 10_000}
"""Milliseconds until the kernel gives a peer up that acknowledges nothing; the library's 1,000 are a busy machine's."""

ARGUMENTS: dict[str, object] = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-overflow": "reject-publish",
    "x-delivery-limit": 1_000_000,
}
"""What the queue is declared with. Overflow would else drop confirmed messages, and RabbitMQ 4 a message that came back
20 times; -1 drops it at once on 3.10."""

_DIFFERS = amqp.PreconditionFailed.code


class BrokerTrouble(Exception):
    """The broker cannot be used now.

    Args:
        reason: one sentence, without the password.
        needs_person: waiting does not mend it.
    """

    def __init__(self, reason: str, *, needs_person: bool = False) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.needs_person: bool = needs_person


class Opened:
    """An open connection with one channel, and the queue declared.

    Args:
        address: of the queue.
        node: to connect to.
        heartbeat: seconds, 0 for none.

    Attributes:
        connection: the library's.
        channel: on it.
        version: of the broker.
        difference: what the queue was made with that differs from :data:`ARGUMENTS`, in the broker's words.

    Raises:
        BrokerTrouble: it cannot be had.
    """

    def __init__(self, address: Address, node: Node, *, heartbeat: float = 0) -> None:
        self.node: Node = node
        self.difference: str | None = None
        try:
            self._open(address, heartbeat)
            try:
                self.channel.queue_declare(address.queue, durable=True, auto_delete=False, arguments=ARGUMENTS)
            except amqp.PreconditionFailed as error:
                # Somebody else has made it: it is used as it is, and `doctor` says what differs.
                self.difference = str(error.reply_text)
                self.drop()
                self._open(address, heartbeat)
                self.channel.queue_declare(address.queue, passive=True)
        except Exception as error:
            self.drop()
            raise trouble_of(error, node) from error

    def drop(self) -> None:
        """Close the socket, and send nothing more."""
        self.connection.collect()

    def _open(self, address: Address, heartbeat: float) -> None:
        self.connection: Any = amqp.Connection(
            str(self.node),
            address.user,
            address.password,
            login_method="PLAIN",
            virtual_host=address.vhost,
            # An empty dict would be no TLS at all; without the name any certificate of the same CA would do.
            ssl={"server_hostname": self.node.host, "cert_reqs": ssl.CERT_REQUIRED, **address.files}
            if address.is_encrypted
            else False,
            connect_timeout=_CONNECT_TIMEOUT,
            heartbeat=heartbeat,
            socket_settings=_socket_settings(),
            client_properties={"product": "lotus-durable"},
        )
        self.connection.connect()
        self.connection.transport.sock.settimeout(_ANSWER_TIMEOUT)
        self.version: str = _text(self.connection.server_properties.get("version"))
        self.channel: Any = self.connection.channel()
        self.channel.auto_decode = False


class Publisher:
    """Publishes to the queue and waits for each confirm. For one thread.

    Args:
        address: of the queue.
        first: the node to begin with.
    """

    def __init__(self, address: Address, first: Node | None = None) -> None:
        self._address = address
        # Of a fleet's hosts not all begin with the same node.
        self._next = os.urandom(1)[0] if first is None else address.nodes.index(first)
        self._opened: Opened | None = None
        self._tag = 0
        self._outcomes: dict[int, bool] = {}
        self._returned: str | None = None
        self._is_blocked = False

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
            opened.channel.basic_publish(
                message, "", to or self._address.queue, mandatory=True, timeout=_ANSWER_TIMEOUT
            )

    def wait(self, meanwhile: Callable[[str | None], None]) -> None:
        """Return when the broker has confirmed that a majority of the queue's nodes has what was sent last.

        Args:
            meanwhile: called about twice a second, with why the broker takes nothing now, if it says so.

        Raises:
            BrokerTrouble: it has not; the message may be in the queue all the same.
        """
        with self._dropping():
            assert self._opened is not None
            ends = monotonic() + _CONFIRM_TIMEOUT
            while self._tag not in self._outcomes:
                try:
                    self._opened.connection.drain_events(timeout=_LOOK_INTERVAL)
                except TimeoutError:
                    # What is blocked will be taken: to publish it again would make one more of it.
                    meanwhile(_BLOCKED if self._is_blocked else None)
                    if not self._is_blocked and monotonic() > ends:
                        raise BrokerTrouble("the broker does not confirm: too few of its nodes are up") from None
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

    def _node(self) -> Node:
        return self._address.nodes[self._next % len(self._address.nodes)]

    def _open(self) -> Opened:
        opened = Opened(self._address, self._node())
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
            node = self._node()
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


def trouble_of(error: Exception, node: Node) -> BrokerTrouble:  # noqa: PLR0911  # a table
    """Say what an error of a connection means."""
    if isinstance(error, BrokerTrouble):
        return error
    said = _text(getattr(error, "reply_text", None))
    if isinstance(error, amqp.AccessRefused):
        if "login was refused" in said.lower():
            return BrokerTrouble(f"the broker at {node} refuses the user or the password", needs_person=True)
        return BrokerTrouble(f"the broker does not let this user at the queue: {said}", needs_person=True)
    if isinstance(error, amqp.NotAllowed):
        return BrokerTrouble(f"the broker does not let this user into the vhost: {said}", needs_person=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerTrouble(
            f"the certificate of {node} is not accepted: {error.verify_message}; name the CA in SSL_CERT_FILE, or in "
            "relay_url by ?cacertfile=",
            needs_person=True,
        )
    if isinstance(error, ssl.SSLError):
        return BrokerTrouble(f"no TLS with {node}: {error.reason or error}", needs_person=True)
    if isinstance(error, TimeoutError):
        return BrokerTrouble(f"the broker at {node} does not answer")
    if isinstance(error, amqp.AMQPError):
        return BrokerTrouble(f"the broker at {node} says: {said or type(error).__name__}")
    if isinstance(error, OSError):
        return BrokerTrouble(f"no connection to the broker at {node}: {error.strerror or error}")
    raise error


def _socket_settings() -> dict[int, int]:
    import socket

    return {getattr(socket, name): value for name, value in _LATENCY.items() if hasattr(socket, name)}


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
