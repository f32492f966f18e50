"""One consumer of the queue: from when it is registered at the broker to when the connection is lost, and no longer.

A thread of its own serves the connection, so that it is looked at also while a request to Lotus takes its time. Only
that thread uses the connection; the loop's thread takes messages out of the session, and leaves what is to be
acknowledged in it.

Of all consumers one, the *active* one, receives anything (``x-single-active-consumer``). That is no fence: who was
active until a moment ago may not have heard of it. So there are three rules. Whatever is wrong with the connection ends
the session: nothing is acknowledged any more, and nothing is sent to Lotus. Before each request to Lotus there is a
*proof*, at most ``PROOF_AGE`` old, that a majority of the queue's nodes still hears us, and from one to the next no
time for a takeover (before 4.3 only with ``pause_minority``). And whoever becomes active waits for as long as another
one's last request may take (:attr:`Session.in_doubt_since`).

The proof is a second consumer, which waits behind the first and is cancelled at once: the broker answers both only when
a majority has written it down. A publish would do, too, but for a full queue and a broker whose disk is full, where it
is refused, or never answered, and then nothing would ever empty them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from hashlib import blake2b
from typing import Any

from lotus_durable.clock import monotonic, since_boot
from lotus_durable.delivery.control import Control, Renewed
from lotus_durable.values import NamedTuple

from .address import Address, BrokerBlocked, BrokerTrouble, Node
from .connection import ANSWER_TIMEOUT, SINGLE, Opened

logger: logging.Logger = logging.getLogger("lotus_durable")

HEARTBEAT = 4.0
"""Seconds. The broker gives up a connection that it hears nothing of for two to three of them, and so do we."""
PROOF_AGE = 2.0
_PROOF_INTERVAL = 1.0
"""Who stands by proves it, too: a node that is cut off tells nobody, and nothing would ever come from there."""
_SHORTEST_TAKEOVER = 5.0
"""Seconds that the broker takes at the least to give what we hold to somebody else while it does not hear us, and our
connection lives: by the shortest ``consumer-disconnected-timeout`` that `doctor` recommends."""
_PREFETCH = 500
"""Messages that are held at once: where hosts have few events a request takes many. Each has 0.5 MB at the most."""
_TICK = 0.1
"""Seconds after which what is to be acknowledged, proved or ended is seen to, where nothing comes."""
_LOOK_INTERVAL = 0.01
_NOT_ONE = (
    "the broker's queue was made without x-single-active-consumer, so two relays would send at once: have it emptied "
    "by who made it, delete it, and a host makes it anew"
)


class Received(NamedTuple):
    """A message."""

    key: bytes
    """What stands for its body: the same body is the same message."""
    body: bytes
    reply_to: str | None = None
    """Where somebody waits for an answer."""


class _Held(NamedTuple):
    """A message that is not acknowledged."""

    since: float
    tags: list[int]
    """Of its copies; none while it is given back, and on its way here."""


class Session:
    """Registered as a consumer until :meth:`close`, or the connection is lost.

    Args:
        address: of the queue.
        node: to connect to.
        control: renewed when it is over, and woken when the first message comes.
        requeue_after: seconds for which a message is held at the most before it is fetched anew.

    Attributes:
        in_doubt_since: when another one's last request to Lotus may have begun, seconds since boot; None: nothing has
            come, and this one is not known to be the active one.

    Raises:
        BrokerTrouble: it cannot be registered.
    """

    def __init__(self, address: Address, node: Node, control: Control, *, requeue_after: float) -> None:
        self._queue = address.queue
        self._control = control
        self._requeue_after = requeue_after
        self._inbox: deque[Received] = deque()
        self._done: deque[bytes] = deque()
        self._held: dict[bytes, _Held] = {}
        """By their keys, the oldest first."""
        self._is_closing = False
        self._is_over = False
        self.in_doubt_since: float | None = None
        self._opened = Opened(address, node, heartbeat=HEARTBEAT)
        made_with = self._opened.declare()
        with self._opened.dropped_on_failure():
            if made_with is None or made_with.get(SINGLE) is not True:
                raise BrokerBlocked(_NOT_ONE)
            self._proved_at = since_boot()
            self._channel = self._opened.connection.channel()
            self._channel.auto_decode = False
            self._channel.basic_qos(0, _PREFETCH, a_global=False)
            self._channel.basic_consume(address.queue, callback=self._receive)
            self._prover = self._opened.connection.channel()
            self._prover.basic_qos(0, 1, a_global=False)
        self._thread = threading.Thread(target=self._serve, name="lotus_durable relay", daemon=True)
        self._thread.start()

    def take(self) -> Received | None:
        """Return the next message that has come, None when there is none now."""
        return self._inbox.popleft() if self._inbox else None

    def acknowledge(self, key: bytes) -> None:
        """Have the broker forget a message; where the session is over, it comes again."""
        self._done.append(key)

    def prove(self) -> None:
        """Return when a majority of the queue's nodes has heard us lately: something may be sent to Lotus now.

        Raises:
            Renewed: the session is over.
        """
        while since_boot() - self._proved_at > PROOF_AGE and not self._is_over:
            time.sleep(_LOOK_INTERVAL)  # no step of the session's thread takes longer than its timeout
        if self._is_over:
            self._control.check()  # it was told why
            raise Renewed("the connection to the broker is lost")

    def close(self) -> None:
        """Drop the connection: what is not acknowledged goes to another relay, or comes back to this one."""
        self._is_closing = True
        self._thread.join(2 * ANSWER_TIMEOUT)

    # In the session's thread

    def _serve(self) -> None:
        try:
            while True:
                is_closing = self._is_closing
                with self._opened.dropped_on_failure():
                    self._acknowledge()
                    if is_closing:
                        return
                    self._requeue_if_due()
                    self._prove_if_due()
                    self._opened.connection.heartbeat_tick()
                self._opened.drain(_TICK)
        except BrokerTrouble as trouble:
            logger.warning("the broker's queue is served no more: %s", trouble)
            self._control.renew(str(trouble))
        finally:
            self._is_over = True
            self._opened.drop()
            self._control.wake.set()

    def _receive(self, message: Any) -> None:  # noqa: ANN401  # the library's
        body = message.body or b""  # of an empty one it is text
        key = blake2b(body, digest_size=16).digest()
        is_first, is_new = self.in_doubt_since is None, key not in self._held
        if is_first or (is_new and message.delivery_info["redelivered"]):
            # Another one was active. It may begin a request for as long as its last proof is young.
            self.in_doubt_since = since_boot() + PROOF_AGE
        # Another copy, or the very message once more: a broker that was cut off may have taken back what is held here,
        # and told nobody. So no copy is acknowledged before its events are settled.
        self._held.setdefault(key, _Held(monotonic(), [])).tags.append(message.delivery_info["delivery_tag"])
        if is_new:
            self._inbox.append(Received(key, body, message.properties.get("reply_to")))
        if is_first:
            self._control.wake.set()

    def _acknowledge(self) -> None:
        # What is given back is acknowledged when it comes: it would be a new one then. It need not come: a policy may
        # drop what lies in the queue.
        for _ in range(len(self._done)):
            key = self._done.popleft()
            if self._held[key].tags:
                for tag in self._held.pop(key).tags:
                    self._channel.basic_ack(tag)
            else:
                self._done.append(key)

    def _requeue_if_due(self) -> None:
        """Give everything back that is held, and get it anew, before the broker takes it for stuck.

        In the order in which it came, one by one: so it comes again in that order. What is read of it stays read.
        """
        oldest = next((each for each in self._held.values() if each.tags), None)
        if oldest is None or monotonic() - oldest.since < self._requeue_after:
            return
        logger.debug("%d messages are given back to the broker, and fetched anew", len(self._held))
        tags = sorted(tag for each in self._held.values() for tag in each.tags)
        self._held = {key: _Held(monotonic(), []) for key in self._held}
        for tag in tags:
            self._channel.basic_reject(tag, requeue=True)

    def _prove_if_due(self) -> None:
        """Have a majority write down that a second consumer comes and goes; see the module.

        Without a gap: one that is longer than a takeover may have had one in it of which nobody has told us.
        """
        began = since_boot()
        if began - self._proved_at <= _PROOF_INTERVAL:
            return
        self._prover.basic_cancel(self._prover.basic_consume(self._queue, callback=_intrude))
        if since_boot() - self._proved_at > _SHORTEST_TAKEOVER:
            raise BrokerTrouble("a majority of the queue's nodes has not heard this relay for too long")
        self._proved_at = began


def _intrude(_: object) -> None:
    raise BrokerTrouble("the broker has given the queue to another consumer")
