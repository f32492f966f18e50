"""Connections to the broker: what is opened, and what a failure means.

A connection that has failed in any way is dropped, and the next one goes to the next node: after an error the library
opens a channel again without confirms, and a later confirm is taken for one that was waited for before. It is dropped,
never closed in order: that waits for the broker's answer, and in a forked child it would end the parent's connection.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from lotus_durable.errors import ConfigurationError

from .address import Address, BrokerBlocked, BrokerTrouble, Node

try:
    import amqp
except ImportError as error:
    raise ConfigurationError(f"a broker needs the library amqp: pip install 'lotus-durable[relay]' ({error})") from None

logger: logging.Logger = logging.getLogger("lotus_durable")

Message: Any = amqp.Message
_CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 10.0
"""Seconds for one step of a connection that is open."""
_SOCKET_OPTIONS = {socket.TCP_USER_TIMEOUT: 10_000} if hasattr(socket, "TCP_USER_TIMEOUT") else {}
"""Milliseconds after which the kernel gives up a peer that acknowledges nothing; a busy machine takes longer than the
library's own 1,000."""

SINGLE = "x-single-active-consumer"
ARGUMENTS: dict[str, object] = {
    "x-queue-type": "quorum",
    SINGLE: True,
    "x-overflow": "reject-publish",
    "x-delivery-limit": 1_000_000,
}
"""What the queue is declared with. Without it an overflow drops confirmed messages, and RabbitMQ 4 drops a message that
came back 20 times; with a limit of -1 RabbitMQ 3.10 drops it the first time."""


_OWN_PORT = "its own port is mostly 5672, or 5671 (TLS)"
_DIFFERS = re.compile(r"arg '(x-[^']+)' .*? (?:none|'([^']*)')(?: of \S+ \S+)?$")
"""What is otherwise in the queue, by the end of what the broker says."""


class _Connection(amqp.Connection):  # type: ignore[misc]  # the library has no types
    """The library's; but what no broker sends is no size of a frame, and a message that it cannot decode no trouble."""

    def blocking_read(self, timeout: float | None = None) -> Any:  # noqa: ANN401  # the library's
        with self.transport.having_timeout(timeout):
            kind, channel, payload = self.transport.read_frame(_unpacked)
        try:
            return self.on_inbound_frame((kind, channel, payload))
        except ValueError:
            if kind != 2:  # noqa: PLR2004  # the head of a message: it would come again for ever
                raise
            return self.on_inbound_frame((kind, channel, payload[:12] + b"\0\0"))  # without properties


def _unpacked(form: str, head: bytes) -> tuple[int, ...]:
    if head[0] not in (1, 2, 3, 8):  # the kinds of frames
        raise amqp.UnexpectedFrame
    return struct.unpack(form, head)


class Opened:
    """An open connection, with or without a heartbeat (seconds). Whatever is wrong with it is a BrokerTrouble.

    Attributes:
        connection: the library's.
        version: of the broker.
        is_dropped: nothing more goes over it.
    """

    def __init__(self, address: Address, node: Node, *, heartbeat: float = 0) -> None:
        self._node = node
        self._queue = address.queue
        self.version: str = ""
        self.is_dropped: bool = False
        # An empty dict would be no TLS at all; without the name any certificate of the same CA would do.
        tls = {"server_hostname": node.host, "cert_reqs": ssl.CERT_REQUIRED, **address.files}
        self.connection: Any = _Connection(
            str(node),
            address.user,
            address.password,
            login_method="PLAIN",
            virtual_host=address.vhost,
            ssl=tls if address.is_encrypted else False,
            connect_timeout=_CONNECT_TIMEOUT,
            heartbeat=heartbeat,
            socket_settings=_SOCKET_OPTIONS,
            client_properties={"product": "lotus-durable"},
        )
        with self.dropped_on_failure():
            if address.is_encrypted:
                _look_at(address.files)
            self.connection.connect()
            self.connection.transport.sock.settimeout(ANSWER_TIMEOUT)
            self.version = text_of(self.connection.server_properties.get("version"))

    def declare(self, *, makes: bool = True) -> dict[str, object] | None:
        """Make the queue where there is none, if so asked; where somebody else has made it, it is used as it is.

        A broker says one thing at a time that differs. To fetch a message would tell, too, whether two may be fetching:
        but what is given back has come back once more often, and is dropped when that was too often.

        Returns:
            What it was made with, where that is nothing but :data:`ARGUMENTS` and what differs from them, and nothing
            where there is none; None: not even that can be told.
        """
        arguments, differs = {**ARGUMENTS}, set[str]()
        with self.dropped_on_failure():
            if not makes:
                try:
                    self.connection.channel().queue_declare(self._queue, passive=True)
                except amqp.NotFound:
                    return {}
            while True:
                declare = self.connection.channel().queue_declare  # on a new one: none is used again after an error
                try:
                    declare(self._queue, durable=True, auto_delete=False, arguments=arguments)
                except amqp.PreconditionFailed as error:
                    told = _DIFFERS.search(str(error.reply_text))
                    if told is None or told[1] in differs:
                        return None
                    differs.add(told[1])
                    arguments.pop(told[1], None)
                    if (value := told[2]) is not None:
                        words = {"true": True, "false": False}
                        arguments[told[1]] = int(value) if value.isdigit() else words.get(value, value)
                else:
                    return arguments

    def drain(self, timeout: float) -> bool:
        """Take what comes next, and return whether something has."""
        with self.dropped_on_failure(), suppress(TimeoutError):
            self.connection.drain_events(timeout=timeout)
            return True
        return False

    @contextmanager
    def dropped_on_failure(self) -> Iterator[None]:
        """Drop the connection whatever goes wrong, and say what it means."""
        if self.is_dropped:  # the library would connect again
            raise BrokerTrouble("the connection to the broker is lost")
        try:
            yield
        except BrokerTrouble:
            self.drop()
            raise
        except Exception as error:
            self.drop()
            raise _trouble_of(error, self._node, is_open=bool(self.version)) from error

    def drop(self) -> None:
        """Close the socket, and send nothing more."""
        self.is_dropped = True
        self.connection.collect()


def _look_at(files: Mapping[str, str]) -> None:
    """Refuse files for TLS that cannot be used: in the library's connect() that looks like the broker's trouble."""
    try:
        context = ssl.create_default_context(cafile=files.get("ca_certs"))
        if "certfile" in files:
            context.load_cert_chain(files["certfile"], files.get("keyfile"))
    except OSError as error:  # ssl's, too
        raise BrokerBlocked(f"a file of certificates that relay_url names cannot be used: {error}") from None


def _trouble_of(error: Exception, node: Node, *, is_open: bool) -> BrokerTrouble:  # noqa: C901, PLR0911  # a table
    """Say what an error of a connection means; one that nobody knows is logged with where it was."""
    said = text_of(getattr(error, "reply_text", None))
    match error:
        case amqp.AccessRefused() if "login was refused" in said.lower():
            return BrokerBlocked(f"the broker at {node} refuses the user or the password")
        case amqp.AccessRefused():
            return BrokerBlocked(f"the broker does not let this user at the queue: {said}")
        case amqp.NotAllowed():
            return BrokerBlocked(f"the broker does not let this user into the vhost: {said}")
        case TimeoutError():
            return BrokerTrouble(f"the broker at {node} does not answer")
        case ssl.SSLEOFError() | OSError(errno=None):  # the library's, too
            return BrokerTrouble(f"the broker at {node} closes the connection" + ("" if is_open else f": {_OWN_PORT}"))
        case ssl.SSLCertVerificationError(verify_message=why):
            remedy = "name the CA in SSL_CERT_FILE, or in relay_url by ?cacertfile="
            if "mismatch" in why:
                remedy = "name the node in relay_url as its certificate does"
            return BrokerBlocked(f"the certificate of {node} is not accepted: {why}; {remedy}")
        case ssl.SSLError():
            return BrokerBlocked(f"no TLS with {node} ({error.reason or error}): name a port with TLS, or use amqp://")
        case amqp.UnexpectedFrame():
            return BrokerTrouble(f"what answers at {node} is no AMQP broker: {_OWN_PORT}")
        case amqp.AMQPError():
            return BrokerTrouble(f"the broker at {node} says: {said or type(error).__name__}")
        case OSError():
            return BrokerTrouble(f"no connection to the broker at {node}: {error.strerror or error}")
    logger.error("serving the broker's connection failed", exc_info=error)
    return BrokerTrouble(f"{type(error).__name__}: {error}")


def text_of(value: object) -> str:
    """Return what the library gives as bytes or as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
