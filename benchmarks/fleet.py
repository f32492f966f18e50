"""A fleet on paper, over simpy's clock, a second at a step: its hosts, its broker, its relay, and Lotus.

What is simulated is load and time: queues, requests, retries. That nothing is lost where it says so is for the tests
with a real broker to prove. Without a relay a host is what this package is without one: a request whenever it has
events, 30 s until it gives up, then 8 s and a pause that doubles up to a minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

Process = Generator[simpy.Event, None, None]

EVENTS_PER_HOST = 0.2
"""A second: a web server that bills one call in many."""
MOST_EVENTS = 500
_FLUSH_INTERVAL = 0.5
_READ_TIMEOUT, _GRACE = 30.0, 8.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_WORKERS = 4
"""Requests that Lotus works on at once: a gunicorn of four."""
_MESSAGES = 8_000
"""A second, that three nodes on two cores take with some room left; each waits for its confirmation."""
_TAKEOVER = 40.0
"""Seconds from a relay's death to the next request: the other one waits out what may be in flight."""
_OUTAGE = (600, 4_200)
_DEPLOY = (1_800, 2_400)
"""All hosts are replaced, one after the other, and their disks go with them: in the middle of the outage."""
_KILL = 5_400
END = 2 * 3_600
_SLOPE = 60.0
"""Seconds in which a relay that has a rate to keep comes to it after an outage."""


@dataclass(frozen=True, slots=True)
class Service:
    """How long Lotus works on a request, in seconds."""

    request: float
    event: float

    def of(self, events: float) -> float:
        """Return it for a request of so many events."""
        return self.request + self.event * events


MEASURED = {"L22": Service(0.00055, 0.0000056), "L24": Service(0.00062, 0.0000041)}
"""Of FakeLotus, by ``python -m benchmarks.fleet_simulation --measure`` on two cores."""


@dataclass(slots=True)
class Seen:
    """What a simulation came to."""

    caught_up: float | None = None
    """Seconds after the outage until no more is pending than in two seconds of a quiet day; None: not in time."""
    requests: float = 0.0
    """A second, at the most."""
    at_once: int = 0
    """Requests at Lotus at the same time, at the most."""
    given_up: int = 0
    """Requests whose answer nobody waited for any more."""
    died: int = 0
    """Events that were on a disk when it went."""
    depth: int = 0
    """Events in the broker, at the most."""
    messages: int = 0
    """And messages."""
    after_kill: float | None = None
    """Seconds from a relay's death until as little is pending as before."""
    pending: list[tuple[int, int]] = field(default_factory=list)
    """By the second: events that are not at Lotus."""

    def note(self, now: float, pending: int, quiet: float) -> None:
        """Take note of a second."""
        self.pending.append((int(now), pending))
        if pending <= quiet:
            if self.caught_up is None and now >= _OUTAGE[1]:
                self.caught_up = now - _OUTAGE[1]
            if self.after_kill is None and now >= _KILL + _TAKEOVER:
                self.after_kill = now - _KILL


class Timeline:
    """What happens, and when: for all simulations the same."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.is_away = False
        """Lotus."""
        self.replaced = 0.0
        """The share of the hosts that were replaced by now."""
        self.takes_over_at = 0.0
        env.process(self._outage())
        env.process(self._deploy())
        env.process(self._kill())

    def _outage(self) -> Process:
        yield self.env.timeout(_OUTAGE[0])
        self.is_away = True
        yield self.env.timeout(_OUTAGE[1] - _OUTAGE[0])
        self.is_away = False

    def _deploy(self) -> Process:
        yield self.env.timeout(_DEPLOY[0])
        length = _DEPLOY[1] - _DEPLOY[0]
        for second in range(length):
            self.replaced = (second + 1) / length
            yield self.env.timeout(1)

    def _kill(self) -> Process:
        yield self.env.timeout(_KILL)
        self.takes_over_at = _KILL + _TAKEOVER


class Alone:
    """A fleet without a relay: each host sends by itself.

    Args:
        timeline: what happens.
        service: of Lotus.
        hosts: how many.
        rate: events of a host in a second.
    """

    def __init__(self, timeline: Timeline, service: Service, hosts: int, rate: float) -> None:
        self._timeline, self._service = timeline, service
        self._chance = np.random.default_rng(hosts)
        self._rate = rate
        self._pending = np.zeros(hosts, dtype=np.int64)
        self._due = self._chance.uniform(0, 1, hosts)
        self._tries = np.zeros(hosts, dtype=np.int64)
        self._waits_since = np.full(hosts, np.inf)
        """When the request in flight arrived; infinite: there is none."""
        self._arrived: deque[tuple[float, Any, Any]] = deque()
        self._busy_until = 0.0
        self._replaced = 0
        self.seen = Seen()

    def run(self) -> Process:
        """Run it, a second at a time."""
        env, quiet = self._timeline.env, 2 * self._rate * len(self._pending) + 2
        while True:
            now = env.now
            came = self._chance.integers(0, len(self._pending), self._chance.poisson(self._rate * len(self._pending)))
            self._pending += np.bincount(came, minlength=len(self._pending))
            self._replace()
            self._send(now)
            self._serve(now)
            self._give_up(now)
            self.seen.note(now, int(self._pending.sum()), quiet)
            yield env.timeout(1)

    def _replace(self) -> None:
        """Hosts go with their disks; what Lotus would take they have sent in their last seconds."""
        upto = int(self._timeline.replaced * len(self._pending))
        gone = slice(self._replaced, upto)
        if self._timeline.is_away:
            self.seen.died += int(self._pending[gone].sum())
        self._pending[gone] = 0
        self._replaced = upto

    def _send(self, now: float) -> None:
        ready = np.flatnonzero((self._due <= now) & (self._pending > 0) & np.isinf(self._waits_since))
        if self._timeline.is_away:  # refused at once
            self._back_off(ready, now, 0.0)
        elif len(ready):
            # A host with a backlog sends request after request: as many as it gets answered in this second.
            events = np.minimum(self._pending[ready], MOST_EVENTS)
            self._arrived.append((now, ready, events))
            self._waits_since[ready] = now

    def _serve(self, now: float) -> None:
        """Let the workers work for a second, in the order of arrival, on what nobody waits for as well."""
        left, answered = float(_WORKERS), 0
        if self._timeline.is_away:
            self._arrived.clear()
        self.seen.at_once = max(self.seen.at_once, sum(len(hosts) for _, hosts, _ in self._arrived))
        while self._arrived and left > 0:
            arrived, hosts, events = self._arrived.popleft()
            cost = np.cumsum(self._service.request + self._service.event * events)
            count = max(1, int(np.searchsorted(cost, left, side="right")))
            if count < len(hosts):
                self._arrived.appendleft((arrived, hosts[count:], events[count:]))
            left -= float(cost[min(count, len(cost)) - 1])
            done, sent = hosts[:count], events[:count]
            answered += len(done)
            waits = self._waits_since[done] == arrived
            self.seen.given_up += int((~waits).sum())
            done, sent = done[waits], sent[waits]
            self._pending[done] = np.maximum(self._pending[done] - sent, 0)
            self._waits_since[done] = np.inf
            self._tries[done] = 0
            self._due[done] = now + 1
        self.seen.requests = max(self.seen.requests, answered)

    def _give_up(self, now: float) -> None:
        late = np.flatnonzero(self._waits_since < now - _READ_TIMEOUT)
        self._waits_since[late] = np.inf
        self._back_off(late, now, _GRACE)

    def _back_off(self, hosts: Any, now: float, grace: float) -> None:  # noqa: ANN401  # of numpy
        pause = np.minimum(_FIRST_PAUSE * 2.0 ** self._tries[hosts], _LONGEST_PAUSE)
        self._due[hosts] = now + grace + pause * self._chance.uniform(0.5, 1.0, len(hosts))
        self._tries[hosts] += 1


class Relayed:
    """A fleet that hands over to a broker, from which one relay sends; see :class:`Alone`.

    Args:
        timeline: what happens.
        service: of Lotus.
        hosts: how many.
        rate: events of a host in a second.
        most: events that the relay may send in a second.
    """

    def __init__(
        self, timeline: Timeline, service: Service, hosts: int, rate: float, most: float | None = None
    ) -> None:
        self._timeline, self._service = timeline, service
        self._hosts, self._rate, self._most = hosts, rate, most
        self._chance = np.random.default_rng(hosts)
        self._depth: deque[list[int]] = deque()
        self._ended = 0.0
        self.seen = Seen()

    def run(self) -> Process:
        """Run it, a second at a time."""
        env, quiet = self._timeline.env, 2 * self._rate * self._hosts + 2
        depth = messages = 0.0
        while True:
            came = int(self._chance.poisson(self._rate * self._hosts))
            depth += came
            messages += messages_a_second(self._hosts, self._rate) * came / max(self._rate * self._hosts, 1e-9)
            self.seen.depth = max(self.seen.depth, int(depth))
            self.seen.messages = max(self.seen.messages, int(messages))
            sent = self._sends(env.now, depth)
            messages -= messages * sent / depth if depth else 0.0
            depth -= sent
            self.seen.note(env.now, int(depth), quiet)
            yield env.timeout(1)

    def _sends(self, now: float, depth: float) -> float:
        """Return how many events go in this second, one request after the other."""
        if self._timeline.is_away or _KILL <= now < self._timeline.takes_over_at:
            self._ended = now
            return 0.0
        batch = min(depth, float(MOST_EVENTS))
        if not batch:
            return 0.0
        requests_a_second = min(1 / self._service.of(batch), depth / batch)
        if self._most is not None:
            share = min(1.0, 0.1 + 0.9 * (now - self._ended) / _SLOPE) if self._ended else 1.0
            requests_a_second = min(requests_a_second, self._most * share / batch)
        self.seen.requests = max(self.seen.requests, requests_a_second)
        self.seen.at_once = 1
        return requests_a_second * batch


def flush_interval(hosts: int) -> float:
    """Return for how long hosts should collect events, so that the broker can take all their messages."""
    return max(_FLUSH_INTERVAL, hosts / _MESSAGES)


def messages_a_second(hosts: int, rate: float) -> float:
    """Return how many messages they hand over: each collects events from the first one on."""
    return hosts / (1 / rate + flush_interval(hosts))


def simulate(
    generation: str, hosts: int, *, relay: bool, rate: float = EVENTS_PER_HOST, end: float = END, slower: float = 1.0
) -> Seen:
    """Return what it comes to.

    Args:
        generation: of Lotus: "L22" or "L24".
        hosts: how many.
        relay: whether they have one.
        rate: events of a host in a second.
        end: of the simulation, in seconds.
        slower: how many times as long as measured Lotus takes.
    """
    env = simpy.Environment()
    timeline = Timeline(env)
    measured = MEASURED[generation]
    service = Service(measured.request * slower, measured.event * slower)
    fleet = (Relayed if relay else Alone)(timeline, service, hosts, rate)
    env.process(fleet.run())
    env.run(until=end)
    return fleet.seen
