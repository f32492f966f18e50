"""Where the broker is, and who we are there: what ``relay_url`` says; and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from lotus_durable.errors import ConfigurationError, DeliveryBlocked, DeliveryError
from lotus_durable.url import is_loopback
from lotus_durable.values import NamedTuple

_QUEUE = "lotus.events"
_PORTS = {"amqp": 5672, "amqps": 5671}
_FILES = {"cacertfile": "ca_certs", "certfile": "certfile", "keyfile": "keyfile"}
"""What the query may name, as in RabbitMQ's own URIs, and the library's name for it."""


class BrokerTrouble(DeliveryError):
    """The broker cannot be used now; one sentence says why, without the password."""


class BrokerBlocked(BrokerTrouble, DeliveryBlocked):
    """The same, and waiting does not mend it: a person has to."""


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

    def is_private(self) -> bool:
        """Whether nobody in between can read what is sent."""
        return self.is_encrypted or all(is_loopback(node.host) for node in self.nodes)

    def __repr__(self) -> str:
        """Say it without the password."""
        return f"<queue {self.queue} in vhost {self.vhost} of {', '.join(map(str, self.nodes))}>"


def address_of(url: str) -> Address:
    """Return what a URL says: ``amqp[s]://user:password@host[:port][/vhost][?queue=name][,host[:port]…]``.

    The nodes after the first belong to the same cluster. As in every URL, a character that has a meaning in it
    (``@ : / ? , %``) is written ``%40`` and so on in a name or a password.

    Raises:
        ConfigurationError: it says nothing of that kind; the message does not quote it, for the password.
    """
    first, *others = url.replace("#", "%23").split(",")
    try:
        scheme, place, path, query, _ = urlsplit(first)
        login, _, node = place.rpartition("@")
        nodes = [_node(each, _PORTS[scheme]) for each in (node, *others)]
    except KeyError:
        raise ConfigurationError("relay_url: it begins with amqp:// or amqps://") from None
    except ValueError:
        raise ConfigurationError("relay_url: a node of it is no host, nor host:port") from None
    named = dict(parse_qsl(query))
    if unknown := sorted(named.keys() - {"queue", *_FILES}):
        raise ConfigurationError(f"relay_url: nothing is called {unknown[0]} in it; queue and cacertfile are")
    user, _, password = (login or "guest:guest").partition(":")
    return Address(
        nodes,
        unquote(path[1:]) or "/",
        named.pop("queue", _QUEUE),
        unquote(user),
        unquote(password),
        is_encrypted=scheme == "amqps",
        files={_FILES[name]: file for name, file in named.items()},
    )


def _node(text: str, port: int) -> Node:
    parts = urlsplit(f"//{text}")
    node = Node(parts.hostname or "", port if parts.port is None else parts.port)
    if not node.host.encode("idna") or not all(node) or parts.netloc != text or "@" in text or " " in text:
        raise ValueError
    return node
