"""Asking the broker of a fleet whether each node is there, and what may take a message that it has confirmed.

By AMQP it says whether it lets us in, its version, and whether the queue was made as ours are. Nodes, alarms, policies
and the times by which it finds out that somebody is gone only its management API says (``rabbitmq_management``), to a
user with the tag ``monitoring``; partition handling not even that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import requests

from lotus_durable.config import Config
from lotus_durable.relay.address import Address, BrokerTrouble, address_of
from lotus_durable.relay.connection import ARGUMENTS, Opened

from . import Answer, Mark

_PORTS = {False: ("http", 15672), True: ("https", 15671)}
_TIMEOUT = (5.0, 10.0)
_WHAT_IT_COSTS = {
    "x-queue-type": "it is no quorum queue: what one node has confirmed goes with that node's disk",
    "x-single-active-consumer": "two relays would send at once: the server of 2022 loses acknowledged events then",
    "x-overflow": "a queue that is full drops messages that were confirmed",
    "x-delivery-limit": "a message that came back so often is dropped (not set: 20 on RabbitMQ 4; -1: 1 on 3); "
    "while Lotus is away each comes back every 5 minutes",
}
_AS_OURS = "let relays empty it, delete it, and have a host make it anew; or take another one (?queue=)"
_TAKES = {
    "message-ttl": "drops messages that are older, whoever waits for them",
    "expires": "deletes the queue when no relay was there for so long",
    "max-length": "has publishes refused when it is reached, or drops the oldest (overflow)",
    "max-length-bytes": "does the same by bytes",
    "delivery-limit": "drops a message that came back so often",
}
_LONGEST_TICK = 10
_LONGEST_DISCONNECTED = 10_000
"""Milliseconds."""
_SHORTEST_HELD = 360_000
"""Milliseconds."""


def examine_broker(config: Config) -> Iterator[Answer]:
    """Give an answer to each question about the broker; nothing is made or published, and none holds the password."""
    assert config.relay_url is not None
    address = address_of(config.relay_url)
    yield from _nodes_named(address)
    versions: list[tuple[int, ...]] = []
    made_with: Mapping[str, object] | None = None
    for node in address.nodes:
        try:
            opened = Opened(address, node)
            if not versions:
                made_with = opened.declare(makes=False)
        except BrokerTrouble as trouble:
            yield Answer("broker", "wrong", str(trouble), "docs/troubleshooting.md has a line for it")
            continue
        opened.drop()
        versions.append(_numbers(opened.version))
        yield Answer("broker", "ok", f"{node} lets this user in: RabbitMQ {opened.version}")
    if versions:
        yield from _of_queue(address, made_with, min(versions))
        yield from _examined_by_api(address, min(versions), has_queue=made_with != {})


def _nodes_named(address: Address) -> Iterator[Answer]:
    if len(address.nodes) == 1:
        remedy = "name every node of the cluster in relay_url; of one node alone nothing is left when its disk is lost"
        yield Answer("cluster", "warning", f"one node is named: {address.nodes[0]}", remedy)
    if not address.is_private():
        yield Answer("relay_url", "warning", "the events and the password travel in the clear", "use amqps://")


def _of_queue(address: Address, made_with: Mapping[str, object] | None, version: tuple[int, ...]) -> Iterator[Answer]:
    named = f"{address.queue} in vhost {address.vhost}"
    if made_with == {}:
        arguments = ", ".join(f"{name} {value}" for name, value in ARGUMENTS.items())
        text = f"{named}: there is none yet; the first host that hands over, or relay, makes it, with {arguments}"
        yield Answer("queue", "ok", text)
    elif made_with is None:
        yield Answer("queue", "wrong", f"{named} was made otherwise, and a relay cannot tell how", _AS_OURS)
    elif made_with.items() >= ARGUMENTS.items():
        yield Answer("queue", "ok", f"{named}, with our arguments")
    else:
        for name, value in ARGUMENTS.items():
            if made_with.get(name) != value:
                has_no_limit = name == "x-delivery-limit" and name not in made_with and version < _LIMITS_ALL
                mark: Mark = "warning" if has_no_limit else "wrong"
                text = f"{name} is {made_with.get(name, 'not set')}, not {value}: {_WHAT_IT_COSTS[name]}"
                yield Answer("queue", mark, text, _AS_OURS)


def _examined_by_api(address: Address, version: tuple[int, ...], *, has_queue: bool) -> Iterator[Answer]:
    scheme, port = _PORTS[address.is_encrypted]
    for node in address.nodes:
        base = f"{scheme}://{node._replace(port=port)}/api"
        path = f"{base}/queues/{quote(address.vhost, safe='')}/{quote(address.queue, safe='')}"
        try:
            queue = _asked(address, path) if has_queue else None
            nodes = _asked(address, f"{base}/nodes")
        except (requests.RequestException, ValueError) as error:
            why = f"{base} cannot be asked: {type(error).__name__}"
            continue
        if queue is not None:
            yield from _of_members(queue)
            yield from _of_policies(queue, version)
        yield from _of_nodes(nodes, address)
        yield from _of_partitions(version)
        return
    remedy = f"look by hand: rabbitmqctl list_policies, list_operator_policies, environment; {_wanted(version)}"
    yield Answer("policies", "warning", f"not known by AMQP; {why}", remedy)


def _asked(address: Address, url: str) -> Any:  # noqa: ANN401  # JSON
    verify = address.files.get("ca_certs", True)
    answer = requests.get(url, auth=(address.user, address.password), timeout=_TIMEOUT, verify=verify)
    answer.raise_for_status()
    return answer.json()


def _of_members(queue: Mapping[str, Any]) -> Iterator[Answer]:
    members, online = queue.get("members") or [], queue.get("online") or []
    text = f"{len(online)} of its {len(members)} nodes are up, {queue.get('messages', 0):,} messages"
    few = len(members) < 3 or len(online) < len(members)  # noqa: PLR2004  # a majority without one
    remedy = "three nodes keep everything when one is lost: rabbitmq-queues grow, or bring them up"
    yield Answer("queue", "warning" if few else "ok", text, remedy if few else "")


def _of_policies(queue: Mapping[str, Any], version: tuple[int, ...]) -> Iterator[Answer]:
    names = " and ".join(str(each) for each in (queue.get("policy"), queue.get("operator_policy")) if each)
    policy = queue.get("effective_policy_definition") or {}
    policy = policy if isinstance(policy, dict) else {}
    for name, what in _TAKES.items():
        if name in policy:
            yield Answer("policies", "warning", f"{name} {policy[name]} ({names}) {what}", "take it out of the policy")
    held = policy.get("consumer-timeout")
    if isinstance(held, int) and held < _SHORTEST_HELD:
        remedy = "6 minutes at the least: a relay waits up to a minute, and fetches anew what it has held for 5"
        yield Answer("policies", "wrong", f"consumer-timeout is {held} ms", remedy)
    if version >= _NOTICES_LATE:
        most = policy.get("consumer-disconnected-timeout")
        if most is None or most > _LONGEST_DISCONNECTED:
            text = f"consumer-disconnected-timeout is {most or '60000, the default'} ms"
            remedy = "set it to 5000 by a policy: a relay whose node dies is replaced only after it"
            yield Answer("policies", "warning", text, remedy)
            return
    if not policy.keys() & _TAKES.keys():
        yield Answer("policies", "ok", f"none takes what was confirmed ({names or 'there is none'})")


def _of_nodes(nodes: list[Mapping[str, Any]], address: Address) -> Iterator[Answer]:
    up = [node for node in nodes if node.get("running")]
    text = f"{len(up)} of {len(nodes)} nodes are up, {len(address.nodes)} are named in relay_url"
    few = len(up) < 3  # noqa: PLR2004  # a majority without one
    remedy = "of fewer than three, one that is down stops the fleet, and one that is lost takes events with it"
    yield Answer("cluster", "warning" if few or len(up) < len(nodes) else "ok", text, remedy if few else "")
    for node in up:
        alarms = [name for name in ("mem_alarm", "disk_free_alarm") if node.get(name)]
        if alarms:
            remedy = "hosts hand nothing over until there is room; relays go on"
            yield Answer("broker", "wrong", f"{node['name']}: {', '.join(alarms)}", remedy)
        if node.get("partitions"):
            yield Answer("cluster", "wrong", f"{node['name']} is cut off from {node['partitions']}", "mend the network")
    ticks = {node["net_ticktime"] for node in up if isinstance(node.get("net_ticktime"), int)}
    if ticks and max(ticks) > _LONGEST_TICK:
        remedy = "set net_ticktime to 8 in rabbitmq.conf: a partition stops everything for about as long"
        yield Answer("net_ticktime", "warning", f"{max(ticks)} s", remedy)
    elif ticks:
        yield Answer("net_ticktime", "ok", f"{max(ticks)} s")


def _of_partitions(version: tuple[int, ...]) -> Iterator[Answer]:
    if version < _NOTICES_LATE:
        remedy = "`rabbitmqctl environment`: cluster_partition_handling is to be pause_minority, or two relays may send"
        yield Answer("partition handling", "warning", "the broker tells it nobody", remedy)


_LIMITS_ALL = (4,)
"""From this version on a queue has a limit where none is set."""
_NOTICES_LATE = (4, 3)
"""From this version on a consumer whose node is gone keeps its messages, and pause_minority does nothing."""


def _wanted(version: tuple[int, ...]) -> str:
    if version >= _NOTICES_LATE:
        return "a policy with consumer-disconnected-timeout 5000, net_ticktime = 8; no message-ttl, expires, max-length"
    return "net_ticktime = 8, cluster_partition_handling = pause_minority; no message-ttl, expires, max-length"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())
