"""Where the broker is, and who we are there: what ``relay_url`` says; and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from lotus_durable.errors import ConfigurationError
from lotus_durable.url import is_loopback
from lotus_durable.values import NamedTuple

_QUEUE = "lotus.events"
_PORTS = {"amqp": 5672, "amqps": 5671}
_FILES = {"cacertfile": "ca_certs", "certfile": "certfile", "keyfile": "keyfile"}
"""What the query may name, as in RabbitMQ's own URIs, and the library's name for it."""


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


class Node(NamedTuple):
    """One node of the cluster."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as the library takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Address(NamedTuple):
    """A queue of a cluster."""

    nodes: Sequence[Node]
    vhost: str
    queue: str
    user: str
    password: str
    is_encrypted: bool
    files: Mapping[str, str]
    """For TLS, by the library's names."""

    def node(self, number: int) -> Node:
        """Return a node, for each number the one after that for the number before."""
        return self.nodes[number % len(self.nodes)]

    def is_private(self) -> bool:
        """Whether nobody in between can read what is sent."""
        return self.is_encrypted or all(is_loopback(node.host) for node in self.nodes)

    def __str__(self) -> str:
        """Say it without the password."""
        return f"queue {self.queue} in vhost {self.vhost} of {', '.join(map(str, self.nodes))}"

    def __repr__(self) -> str:
        """Say it without the password."""
        return f"<{self}>"


def address_of(url: str) -> Address:
    """Return what a URL says: ``amqp[s]://user:password@host[:port][/vhost][?queue=name][,host[:port]…]``.

    The nodes after the first belong to the same cluster. Each of them may be a whole URL, and vhost and query may also
    stand after the last one. As in every URL, a character that has a meaning in it (``@ : / ? , %``) is written ``%40``
    and so on in a name or a password.

    Raises:
        ConfigurationError: it says nothing of that kind; the message does not quote it, for the password.
    """
    scheme = url.partition("://")[0]
    if scheme not in _PORTS:
        raise ConfigurationError("relay_url: it begins with amqp:// or amqps://")
    nodes: list[Node] = []
    paths: set[str] = set()
    users: set[str] = set()
    query: dict[str, str] = {}
    for each in url.replace("#", "%23").split(","):
        try:
            parts = urlsplit(f"{scheme}://{each.removeprefix(f'{scheme}://')}")
            nodes.append(Node(parts.hostname or "", _PORTS[scheme] if parts.port is None else parts.port))
        except ValueError:
            nodes.append(Node("", 0))
        if not nodes[-1].host or " " in nodes[-1].host or not nodes[-1].port:
            raise ConfigurationError("relay_url: a node of it is no host, nor host:port")
        if "@" in parts.netloc:
            users.add(parts.netloc.rpartition("@")[0])
        if parts.path:
            paths.add(unquote(parts.path[1:]) or "/")
        query.update(parse_qsl(parts.query))
    if unknown := sorted(query.keys() - {"queue", *_FILES}):
        raise ConfigurationError(f"relay_url: nothing is called {unknown[0]} in it; queue and cacertfile are")
    if len(paths) > 1 or len(users) > 1:
        raise ConfigurationError("relay_url: all nodes have the same vhost, user and password")
    user, _, password = (users.pop() if users else "guest:guest").partition(":")
    return Address(
        nodes,
        paths.pop() if paths else "/",
        query.get("queue", _QUEUE),
        unquote(user),
        unquote(password),
        is_encrypted=scheme == "amqps",
        files={_FILES[name]: path for name, path in query.items() if name in _FILES},
    )
