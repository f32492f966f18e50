"""FakeLotus: the server, as tests hold it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from lotus_durable.clock import monotonic
from lotus_durable.testing.accounts import Accounts
from lotus_durable.testing.database import ServerState
from lotus_durable.testing.exchange import ReceivedRequest, Reply
from lotus_durable.testing.faults import Away, Fault, Faults
from lotus_durable.testing.l22 import L22
from lotus_durable.testing.l24 import L24
from lotus_durable.testing.listener import Connection, Server
from lotus_durable.testing.serving import reply_to

Generation = Literal["L22", "L24"]
_GENERATIONS: dict[str, type[L22 | L24]] = {"L22": L22, "L24": L24}


class FakeLotus(Server):
    """A Lotus server on loopback that answers like the one of 2022 (``"L22"``) or of 2024 (``"L24"``).

    A context manager; also :meth:`start` and :meth:`stop`. It serves in threads of this process and holds all its
    state in memory. A forked child inherits nothing of it.

    Args:
        api_key: the one key that is valid at first.
        customers: whose events L22 accepts; None accepts everybody's. L24 never looks.
        faults: what goes wrong, see :class:`Faults`.
        port: 0 takes a free one.
        now: the server's clock, an aware datetime; L24 refuses events too far from it.
        max_body_bytes: the size limit; None is the generation's own (L22: 2,621,440; L24: 20 MB).
        keep_requests: how many of the last requests :attr:`requests` holds; None holds all.
        keep_events: False remembers only the ids of events, for long runs.
        on_request: called with each request when its answer is decided, in the connection's thread.

    Raises:
        ValueError: an unknown generation.
        OSError: the port is taken.
    """

    def __init__(
        self,
        generation: Generation = "L24",
        *,
        api_key: str = "test-key",
        customers: Iterable[str] | None = None,
        faults: Faults | None = None,
        port: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_body_bytes: int | None = None,
        keep_requests: int | None = 1000,
        keep_events: bool = True,
        on_request: Callable[[ReceivedRequest], None] | None = None,
    ) -> None:
        super().__init__(port)
        self.generation: Generation = generation
        self.faults: Faults = faults or Faults()
        if generation not in _GENERATIONS:
            msg = f"generation {generation!r}: choose L22 or L24"
            raise ValueError(msg)
        answers = _GENERATIONS[generation]
        self._state = ServerState(answers.database(), api_key, customers, keep_events=keep_events, now=now)
        self._answers = answers(self._state, max_body_bytes)
        self._requests: deque[ReceivedRequest] = deque(maxlen=keep_requests)
        self._answers_by_status: Counter[str] = Counter()
        self._faults_by_name: Counter[str] = Counter()
        self._on_request = on_request

    def __repr__(self) -> str:
        where = self.host if self.is_started else "stopped"
        return f"<FakeLotus {self.generation} {where}: {self.event_count} events, {self.request_count} requests>"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The accepted events as received, each id once, in order of arrival (a copy)."""
        with self._state.changed:
            return list(self._state.events)

    @property
    def event_count(self) -> int:
        """How many events were accepted."""
        return len(self._state.times)

    @property
    def duplicates(self) -> int:
        """How many events came with an id that had come before."""
        return self._state.duplicates

    @property
    def times_received(self) -> dict[str, int]:
        """How often each accepted idempotency id was received, in order of first arrival (a copy)."""
        with self._state.changed:
            return dict(self._state.times)

    @property
    def database(self) -> set[str]:
        """The ids of what is stored when all that is under way has come to its end, maybe less than was accepted."""
        with self._state.changed:
            return self._state.database.at_rest()

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The last ``keep_requests`` requests, oldest first (a copy)."""
        with self._state.changed:
            return list(self._requests)

    @property
    def request_count(self) -> int:
        """How many requests came in all."""
        with self._state.changed:
            return self._answers_by_status.total()

    def counts(self) -> dict[str, Any]:
        """Return the counts: events, duplicates, requests, answers by status, faults by name."""
        with self._state.changed:
            return {
                "generation": self.generation,
                "events": self.event_count,
                "duplicates": self.duplicates,
                "requests": self.request_count,
                "answers": dict(self._answers_by_status),
                "faults": dict(self._faults_by_name),
            }

    def wait_for(self, n_events: int, timeout: float = 10.0) -> None:
        """Wait until at least ``n_events`` were accepted; raises AssertionError after ``timeout`` seconds."""
        self.wait_until(lambda: self.event_count >= n_events, timeout, what=f"{n_events} events")

    def wait_until(self, condition: Callable[[], bool], timeout: float = 10.0, *, what: str = "the condition") -> None:
        """Wait until ``condition()`` is true, asked again after every request, else raise AssertionError."""
        deadline = monotonic() + timeout
        with self._state.changed:
            while not condition():
                left = deadline - monotonic()
                if left <= 0:
                    last = [f"{r.method} {r.path} -> {r.status or 'reset'}" for r in self.requests[-3:]]
                    msg = (
                        f"waited {timeout:g} s for {what}; the server holds {self.event_count} events, dropped "
                        f"{self.duplicates} duplicates and got {self.request_count} requests"
                        + (f", the last: {'; '.join(last)}" if last else "")
                    )
                    raise AssertionError(msg)
                self._state.changed.wait(left)

    def add_customer(self, customer_id: str) -> None:
        """Make a customer known."""
        with self._state.changed:
            self._state.accounts.add_customer(customer_id)

    @property
    def accounts(self) -> Accounts:
        """Customers, plans, subscriptions and credits: seed them with ``accounts.add_plan(...)`` and the like."""
        return self._state.accounts

    def lose_events(self, *idempotency_ids: str) -> None:
        """Forget events that were acknowledged, as L22 does under load; they can be received again."""
        with self._state.changed:
            self._state.lose_events(set(idempotency_ids))

    @property
    def api_key(self) -> str:
        """The newest valid key."""
        return next(reversed(self._state.keys))

    def rotate_key(self, new: str, *, keep_old: bool = False) -> None:
        """Make ``new`` the valid key; the old ones are revoked unless ``keep_old``."""
        with self._state.changed:
            old = {key: state for key, state in self._state.keys.items() if keep_old and key != new}
            self._state.keys = {**old, new: "valid"}

    def expire_key(self) -> None:
        """Let every key that is valid now expire."""
        with self._state.changed:
            self._state.keys = dict.fromkeys(self._state.keys, "expired")

    def fail_next(self, *faults: Fault | None) -> None:
        """Append to the script of faults: one entry for each of the next requests."""
        self.faults.extend(faults)

    def decide(self, connection: Connection) -> Reply:
        """Return how to answer the request of a connection, which has read its head."""
        fault = self.faults.draw(connection.request.path) or self.faults.poison_in(connection.read)
        if isinstance(fault, Away):
            self.go_away_for(fault.seconds)
        reply = reply_to(connection, fault, self._answers, self.faults.chance)
        request = connection.request
        path = f"{request.path}?{request.query}" if request.query else request.path
        status = None if reply.answer is None else reply.answer.status
        name = None if fault is None else type(fault).__name__
        received = ReceivedRequest(request.method, path, request.headers, request.body, status, name)
        with self._state.changed:
            self._requests.append(received)
            self._answers_by_status[str(status or "reset")] += 1
            if name is not None:
                self._faults_by_name[name] += 1
            self._state.changed.notify_all()
        if self._on_request is not None:
            self._on_request(received)
        return reply
