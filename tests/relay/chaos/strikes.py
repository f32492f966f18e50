"""What is done to a fleet. Each strike returns whether it found somebody to strike."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lotus_durable.testing import Away, Faults, Slow
from tests.relay.broker import Network, Node

from .world import RELAYS, Child, World


@dataclass(frozen=True, slots=True)
class Strike:
    """One kind."""

    about: str
    do: Callable[[World], bool]
    weight: int = 1
    of_cluster: bool = False
    """It takes a cluster of its own, of three nodes."""


def _relay(world: World) -> Child:
    return world.chance.choice(world.relays)


def _kill(world: World, pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    world.kills += 1
    return True


def _kill_child(world: World, child: Child) -> bool:
    did = child.send(signal.SIGKILL)
    world.kills += did
    return did


def _kill_relay(world: World) -> bool:
    return _kill_child(world, _relay(world))


def _stop_relay(world: World) -> bool:
    """Long enough for another one to take over, or not."""
    relay = _relay(world)
    did = relay.send(signal.SIGSTOP)
    world.pass_(world.chance.choice((0.5, 6.0, 18.0)))
    relay.send(signal.SIGCONT)
    return did


def _end_relay(world: World) -> bool:
    return _relay(world).send(signal.SIGTERM)


def _kill_flusher(world: World) -> bool:
    return _kill(world, world.chance.choice(world.hosts).flusher())


def _stop_flusher(world: World) -> bool:
    pid = world.chance.choice(world.hosts).flusher()
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGSTOP)
        world.pass_(world.chance.uniform(0.1, 2.0))
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return False
    return True


def _kill_worker(world: World) -> bool:
    return _kill_child(world, world.chance.choice(world.chance.choice(world.hosts).workers))


def _kill_host(world: World) -> bool:
    """All of one host at once; its disk stays."""
    host = world.chance.choice(world.hosts)
    for worker in host.workers:
        _kill_child(world, worker)
    return _kill(world, host.flusher())


def _kill_node(world: World, node: Node) -> bool:
    node.kill()
    world.kills += 1
    world.pass_(world.chance.uniform(0.0, 12.0))
    node.start()
    return True


def _kill_relays_node(world: World) -> bool:
    node = world.cluster.node_of(_relay(world).pid)
    return node is not None and _kill_node(world, node)


def _kill_leaders_node(world: World) -> bool:
    return _kill_node(world, world.cluster.leader_of(world.queue))


def _kill_two_nodes(world: World) -> bool:
    for node in (two := world.chance.sample(world.cluster.nodes, 2)):
        node.kill()
        world.kills += 1
    world.pass_(world.chance.uniform(0.0, 5.0))
    for node in two:
        node.start(wait=False)
    for node in two:
        node.wait_until_started()
    return True


def _stop_node(world: World) -> bool:
    node = world.chance.choice(world.cluster.nodes)
    node.send(signal.SIGSTOP)
    world.pass_(world.chance.choice((1.0, 15.0)))
    node.send(signal.SIGCONT)
    return True


def _part_relays_node(world: World) -> bool:
    """Broker from broker, with a relay on the small side."""
    small = world.cluster.node_of(_relay(world).pid) or world.cluster.nodes[0]
    world.cluster.network.part([small], [node for node in world.cluster.nodes if node is not small])
    world.pass_(world.chance.choice((5.0, 20.0)))
    world.cluster.network.heal()
    return True


def _cut_relay(world: World) -> bool:
    world.cluster.network.cut(world.plan.hosts + world.chance.randrange(RELAYS))
    world.pass_(world.chance.choice((2.0, 15.0)))
    world.cluster.network.heal()
    return True


def _cut_host(world: World) -> bool:
    world.cluster.network.cut(world.chance.randrange(world.plan.hosts))
    world.pass_(world.chance.choice((2.0, 15.0)))
    world.cluster.network.heal()
    return True


def _restart_all(world: World) -> bool:
    for node in world.cluster.nodes:
        node.stop()
        node.start()
    return True


def _alarm(world: World) -> bool:
    node = world.chance.choice(world.cluster.nodes)

    def lift() -> None:
        try:
            node.ctl("set_disk_free_limit", "50MB", timeout=20.0)
        except AssertionError:  # a node begins with the limit of its file
            node.stop()
            node.start()

    world.undo.append(lift)
    node.ctl("set_disk_free_limit", "100000GB", timeout=20.0)
    world.pass_(world.chance.uniform(1.0, 5.0))
    return world.undone()


def _fill_queue(world: World) -> bool:
    world.undo.append(world.set_policy)
    world.set_policy(**{"max-length": 3})
    world.pass_(world.chance.uniform(1.0, 5.0))
    return world.undone()


def _away(world: World) -> bool:
    return world.set_faults(Faults(script=[Away(world.chance.uniform(0.5, 5.0))], path="/api/track/"))


def _slow(world: World) -> bool:
    return world.set_faults(Faults(script=[Slow(2.0)] * 2, path="/api/track/"))


STRIKES: Mapping[str, Strike] = {
    "relay killed": Strike("SIGKILL", _kill_relay, 6),
    "relay stopped": Strike("SIGSTOP, and SIGCONT after 0.5, 6 or 18 s", _stop_relay, 2),
    "relay ended": Strike("SIGTERM, as in a deploy", _end_relay),
    "flusher killed": Strike("SIGKILL, of a host's", _kill_flusher, 16),
    "flusher stopped": Strike("SIGSTOP, and SIGCONT within 2 s", _stop_flusher, 2),
    "worker killed": Strike("SIGKILL", _kill_worker, 16),
    "host killed": Strike("SIGKILL of all its processes; its disk stays", _kill_host, 2),
    "the relay's node killed": Strike("SIGKILL of a node that a relay is connected to", _kill_relays_node, 2, True),
    "the leader's node killed": Strike("SIGKILL of the node that leads the queue", _kill_leaders_node, 2, True),
    "two nodes killed": Strike("SIGKILL of two nodes of three", _kill_two_nodes, 1, True),
    "node stopped": Strike("SIGSTOP of a node, and SIGCONT after 1 or 15 s", _stop_node, 1, True),
    "broker parted": Strike("a relay's node from the two others, for 5 or 20 s", _part_relays_node, 1, True),
    "relay cut off": Strike("from all nodes, for 2 or 15 s", _cut_relay, 1, True),
    "host cut off": Strike("from all nodes, for 2 or 15 s", _cut_host, 1, True),
    "rolling restart": Strike("SIGTERM and start, of one node after the other", _restart_all, 1, True),
    "disk alarm": Strike("a node says that its disk is full", _alarm, 1, True),
    "queue full": Strike("a policy that lets no more than three messages in", _fill_queue, 1, True),
    "Lotus away": Strike("it refuses connections for up to 5 s", _away),
    "Lotus slow": Strike("two answers come later than a relay waits", _slow),
}
_CUTS = ("broker parted", "relay cut off", "host cut off")


def possible(world: World) -> dict[str, Strike]:
    """Return those that can be done here and are not left out."""
    return {
        name: strike
        for name, strike in STRIKES.items()
        if name not in world.plan.without
        and not (strike.of_cluster and world.plan.nodes < 3)
        and not (name in _CUTS and Network.why_not())
    }
