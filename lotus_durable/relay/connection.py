"""Connections to the broker: what is opened, and what a failure means.

A connection that has failed in any way is dropped, and the next one goes to the next node: after an error the library
opens a channel again without confirms, and a later confirm is taken for one that was waited for before. It is dropped,
never closed in order: that waits for the broker's answer, and in a forked child it would end the parent's connection.
"""

from __future__ import annotations

import logging
import socket
import ssl
from typing import Any

import amqp

from .address import Address, BrokerTrouble, Node

logger: logging.Logger = logging.getLogger("lotus_durable")

_CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 10.0
"""Seconds for one step of a connection that is open."""
_SOCKET_OPTIONS = {socket.TCP_USER_TIMEOUT: 10_000} if hasattr(socket, "TCP_USER_TIMEOUT") else {}
"""Milliseconds after which the kernel gives up a peer that acknowledges nothing; a busy machine takes longer than the
library's own 1,000."""

ARGUMENTS: dict[str, object] = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-overflow": "reject-publish",
    "x-delivery-limit": 1_000_000,
}
"""What the queue is declared with. Without it an overflow drops confirmed messages, and RabbitMQ 4 drops a message that
came back 20 times; with a limit of -1 RabbitMQ 3.10 drops it the first time."""


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
            socket_settings=_SOCKET_OPTIONS,
            client_properties={"product": "lotus-durable"},
        )
        self.connection.connect()
        self.connection.transport.sock.settimeout(ANSWER_TIMEOUT)
        self.version: str = _text(self.connection.server_properties.get("version"))
        self.channel: Any = self.connection.channel()
        self.channel.auto_decode = False


def trouble_of(error: Exception, node: Node) -> BrokerTrouble:  # noqa: PLR0911  # a table
    """Say what an error of a connection means; one that nobody knows is logged with where it was."""
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
    logger.error("serving the broker's connection failed", exc_info=error)
    return BrokerTrouble(f"{type(error).__name__}: {error}")


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
