"""One consumer of the queue: from when it is registered at the broker to when the connection is lost, and no longer.

A thread of its own serves the connection, so that it is looked at also while a request to Lotus takes its time. Only
that thread uses the connection; the loop's thread takes messages from the session, and leaves it what is to be
acknowledged.

Of all consumers one, the *active* one, receives anything (``x-single-active-consumer``). That is no fence: who was
active until a moment ago may not have heard of it. So there are three rules. Whatever is wrong with the connection ends
the session: nothing is acknowledged any more, and nothing is sent to Lotus. Before each request to Lotus there is a
*proof*, at most ``PROOF_AGE`` old, that a majority of the queue's nodes still hears us, and from one to the next no
time for a takeover. And whoever becomes active waits for as long as another one's last request may take
(:attr:`Session.in_doubt_since`).

The proof is a second consumer, which waits behind the first and is cancelled at once: the broker answers both only when
a majority has written it down. A publish would do, too, but for a full queue and a broker whose disk is full, where it
is refused, or never answered, and then nothing would ever empty them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

from lotus_durable.clock import monotonic, since_boot
from lotus_durable.delivery.control import Renewed
from lotus_durable.values import NamedTuple

from .address import Address, Node
from .connection import BrokerTrouble, Opened, has_one_active_consumer, trouble_of

logger: logging.Logger = logging.getLogger("lotus_durable")

HEARTBEAT = 4.0
"""Seconds. The broker gives up a connection that it hears nothing of for two to three of them, and so do we."""
PROOF_AGE = 2.0
_PROOF_INTERVAL = 1.0
_STANDBY_INTERVAL = 5.0
"""The same for who stands by: a node that is cut off tells nobody, and nothing would ever come from there."""
_SHORTEST_TAKEOVER = 5.0
"""Seconds that the broker takes at the least to give what we hold to somebody else while it does not hear us, and our
connection lives: by the shortest ``consumer-disconnected-timeout`` that `doctor` recommends."""
_PROOF_TIMEOUT = 10.0
_PREFETCH = 500
"""Messages that are held at once: where hosts have few events a request takes many. Each has 0.5 MB at the most."""
_TICK = 0.5
_NOT_ONE = (
    "the broker's queue was made without x-single-active-consumer, so two relays would send at once: have it emptied "
    "by who made it, delete it, and a host makes it anew"
)
_LOOK_INTERVAL = 0.1


class Received(NamedTuple):
    """A message."""

    key: bytes
    """What stands for its body: the same body is the same message."""
    body: bytes
    reply_to: str | None = None
    """The queue in which somebody waits for an answer."""


class Session:
    """Registered as a consumer until :meth:`close`, or the connection is lost.

    Args:
        address: of the queue.
        node: to connect to.
        lost: called, in the session's thread, with why it is over.
        arrived: called so when the first message comes.
        requeue_after: seconds for which a message is held at the most before it is fetched anew.

    Attributes:
        in_doubt_since: when another one's last request to Lotus may have begun, seconds since boot; None: nothing has
            come, and this one is not known to be the active one.
        version: of the broker.

    Raises:
        BrokerTrouble: it cannot be registered.
    """

    def __init__(
        self,
        address: Address,
        node: Node,
        *,
        lost: Callable[[str], None],
        arrived: Callable[[], None],
        requeue_after: float,
    ) -> None:
        self._queue = address.queue
        self._lost = lost
        self._arrived = arrived
        self._requeue_after = requeue_after
        self._inbox: deque[Received] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._tags: dict[bytes, list[int]] = {}
        self._received_at: dict[int, float] = {}
        self._away: set[bytes] = set()
        self._done_while_away: set[bytes] = set()
        self._proved_at = float("-inf")
        self._heard_at: float | None = None
        self._proved = threading.Event()
        self._is_wanted = False
        self._is_over = False
        self.in_doubt_since: float | None = None
        self._opened = Opened(address, node, heartbeat=HEARTBEAT)
        self.version: str = self._opened.version
        try:
            if self._opened.difference is not None and not has_one_active_consumer(address, node):
                raise BrokerTrouble(_NOT_ONE, needs_person=True)
            self._channel = self._opened.channel
            self._channel.basic_qos(0, _PREFETCH, a_global=False)
            self._channel.basic_consume(address.queue, callback=self._receive)
            self._prover = self._opened.connection.channel()
            self._prover.basic_qos(0, 1, a_global=False)
        except Exception as error:
            self._opened.drop()
            raise trouble_of(error, node) from error
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        self._thread = threading.Thread(target=self._serve, name="lotus_durable relay", daemon=True)
        self._thread.start()

    def take(self) -> Received | None:
        """Return the next message that has come, None when there is none now."""
        try:
            return self._inbox.popleft()
        except IndexError:
            return None

    def acknowledge(self, keys: Iterable[bytes]) -> None:
        """Have the broker forget these messages; where the session is over, they come again."""
        keys = list(keys)
        self._do(lambda: self._acknowledge(keys))

    def prove(self) -> None:
        """Return when a majority of the queue's nodes has heard us lately: something may be sent to Lotus now.

        Raises:
            Renewed: the session is over.
        """
        ends = monotonic() + _PROOF_TIMEOUT
        while since_boot() - self._proved_at > PROOF_AGE and not self._is_over:
            self._proved.clear()
            self._is_wanted = True
            self._wake()
            self._proved.wait(_LOOK_INTERVAL)
            if monotonic() > ends:
                self._end("the broker does not answer")
        if self._is_over:
            raise Renewed("the connection to the broker is lost")

    def close(self) -> None:
        """Drop the connection: what is not acknowledged goes to another relay, or comes back to this one."""
        self._do(self._stop)  # behind what is to be acknowledged
        self._thread.join(2 * _PROOF_TIMEOUT)
        if not self._thread.is_alive():  # else it may read of them once more
            os.close(self._waking)
            os.close(self._woken)

    # In the session's thread

    def _serve(self) -> None:
        connection = self._opened.connection
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(connection.sock, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while not self._is_over:
                    self._step(connection, selector)
        except Exception as error:  # noqa: BLE001  # whatever it is, the session is over
            try:
                self._end(trouble_of(error, self._opened.node).reason)
            except Exception as other:
                logger.exception("serving the broker's connection failed")
                self._end(f"{type(other).__name__}: {other}")
        finally:
            self._opened.drop()

    def _step(self, connection: Any, selector: selectors.BaseSelector) -> None:  # noqa: ANN401  # the library's
        while self._jobs:
            self._jobs.popleft()()
        self._prove_if_due()
        self._requeue_if_due()
        connection.heartbeat_tick()
        # What TLS has read ahead no selector shows.
        if not getattr(connection.sock, "pending", int)():
            ready = {key.fileobj for key, _ in selector.select(_TICK)}
            if self._woken in ready:
                os.read(self._woken, 4096)
            if connection.sock not in ready:
                return
        with contextlib.suppress(TimeoutError):  # a part of a frame, or a heartbeat
            connection.drain_events(timeout=_TICK)

    def _stop(self) -> None:
        self._is_over = True

    def _end(self, reason: str) -> None:
        if not self._is_over:
            self._is_over = True
            self._lost(f"the broker's queue is served no more: {reason}")

    def _receive(self, message: Any) -> None:  # noqa: ANN401  # the library's
        tag = message.delivery_info["delivery_tag"]
        body = message.body if isinstance(message.body, bytes) else message.body.encode(errors="surrogateescape")
        key = blake2b(body, digest_size=16).digest()
        if key in self._done_while_away:
            self._done_while_away.discard(key)
            self._channel.basic_ack(tag)
            return
        is_ours = key in self._away
        self._away.discard(key)
        if key not in self._tags:
            self._inbox.append(Received(key, body, message.properties.get("reply_to")))
        # Another copy, or the very message once more: a broker that was cut off may have taken back what is held here,
        # and told nobody. So no copy is acknowledged before its events are settled.
        self._tags.setdefault(key, []).append(tag)
        self._received_at[tag] = monotonic()
        is_first = self.in_doubt_since is None
        if is_first or (message.delivery_info["redelivered"] and not is_ours):
            # Another one was active. It may begin a request for as long as its last proof is young.
            self.in_doubt_since = since_boot() + PROOF_AGE
        if is_first:
            self._heard_at = since_boot()
            self._arrived()

    def _acknowledge(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            if key in self._away:
                self._away.discard(key)
                self._done_while_away.add(key)
            for tag in self._tags.pop(key, ()):
                del self._received_at[tag]
                self._channel.basic_ack(tag)

    def _requeue_if_due(self) -> None:
        """Give everything back that is held, and get it anew, before the broker takes it for stuck.

        In the order in which it came, one by one: so it comes again in that order. What is read of it stays read.
        """
        oldest = next(iter(self._received_at.values()), None)
        if oldest is None or monotonic() - oldest < self._requeue_after:
            return
        logger.debug("%d messages are given back to the broker, and fetched anew", len(self._received_at))
        tags = sorted(self._received_at)
        self._away.update(self._tags)
        self._tags = {key: [] for key in self._tags}
        self._received_at.clear()
        for tag in tags:
            self._channel.basic_reject(tag, requeue=True)

    def _prove_if_due(self) -> None:
        """Have a majority write down that a second consumer comes and goes; see the module.

        Without a gap: one that is longer than a takeover may have had one in it of which nobody has told us.
        """
        heard_at = self._heard_at
        interval = _STANDBY_INTERVAL if heard_at is None else _PROOF_INTERVAL
        if since_boot() - self._proved_at <= interval and not self._is_wanted:
            return
        began = since_boot()
        tag = self._prover.basic_consume(self._queue, callback=self._intrude)
        self._prover.basic_cancel(tag)
        if heard_at is not None:
            if since_boot() - heard_at > _SHORTEST_TAKEOVER:
                raise BrokerTrouble("a majority of the queue's nodes has not heard this relay for too long")
            self._heard_at = began
        self._proved_at = began
        self._is_wanted = False
        self._proved.set()

    def _intrude(self, message: object) -> None:
        del message
        raise BrokerTrouble("the broker has given the queue to another consumer")

    # Between the threads

    def _do(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is awake
            os.write(self._waking, b"\0")
