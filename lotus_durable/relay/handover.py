"""A broker as the place that a host's flusher sends to: what it has confirmed is handed over, not delivered."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager

from lotus_durable.clock import since_boot
from lotus_durable.config import Config
from lotus_durable.delivery.batch import Batch
from lotus_durable.delivery.control import Control
from lotus_durable.delivery.outcome import HandedOver
from lotus_durable.delivery.place import Way
from lotus_durable.event.record import EVENT, unpack_record
from lotus_durable.http.backoff import Backoff

from .address import BrokerBlocked, BrokerTrouble, address_of
from .message import MOST_EVENTS, Events
from .publisher import Meanwhile, Publisher

logger: logging.Logger = logging.getLogger("lotus_durable")

_LONGEST_PAUSE = 10.0
"""Seconds, of the random wait: a whole fleet comes back at once, and the events wait on each host's disk meanwhile."""
_AT_ONCE = 4
"""Messages that may wait for their confirms: a broker on a busy machine takes longer for one than a host for four."""


@contextmanager
def opened_broker(config: Config, control: Control) -> Iterator[Way]:
    """Open a broker for a host's flusher, at once: whether it can be reached shows with the first batch."""
    assert config.relay_url is not None
    address = address_of(config.relay_url)
    if not address.is_private():
        logger.warning("relay_url is not encrypted: the password and the events travel in the clear")
    most = _AT_ONCE if config.upload_concurrency == "auto" else config.upload_concurrency
    with closing(Publisher(address)) as publisher:
        # Each message names the key under which its events were tracked, so all may go.
        yield Way([Broker(publisher, control, config) for _ in range(most)], lambda _: True)


class Broker:
    """A place that hands batches over, one message for each. For one thread.

    Args:
        publisher: to the broker; several places may share one.
        control: between tries.
        config: options.
        meanwhile: called while it waits for a confirm. With one, what cannot be handed over now is not: it raises
            BrokerTrouble.
    """

    max_events: int = MOST_EVENTS
    takes_repeats: bool = True

    def __init__(
        self,
        publisher: Publisher,
        control: Control,
        config: Config,
        meanwhile: Meanwhile | None = None,
    ) -> None:
        self._tries_once = meanwhile is not None
        self._meanwhile = self._wait_out_alarm if meanwhile is None else meanwhile
        self._publisher = publisher
        self._control = control
        constants = config.constants
        self._in_flight_limit = config.timeout[1] + constants.grace
        self._probe_interval = constants.probe_interval
        self._backoff = Backoff(base=constants.first_pause, cap=min(_LONGEST_PAUSE, constants.longest_pause))
        # No more than one request of the relay takes: that holds some hundred messages in memory.
        self.max_bytes: int = constants.max_batch_bytes

    def encode(self, records: Sequence[bytes]) -> tuple[Sequence[str], Sequence[str], Sequence[bytes]]:
        """Return the records as they are, for the relay; only what is no event to be sent is refused here."""
        for record in records:
            if not record.startswith(EVENT):
                unpack_record(record)
        nothing = [""] * len(records)
        return nothing, nothing, records

    def deliver(self, batch: Batch) -> Generator[None, None, Sequence[HandedOver]]:
        """Return when all are handed over; stopped before that, they may be, and are again by whoever comes next."""
        body = Events(batch.key, batch.records).encode()
        while batch.records:
            asked = self._control.asked()
            self._control.enter("sending")
            try:
                with self._control.request(is_question=True):
                    sent = self._publisher.send(body)
                    yield
                    self._publisher.wait(sent, self._meanwhile)
                self._control.reached(server=True)
                self._backoff.reset()
                break
            except BrokerTrouble as trouble:
                if self._tries_once:
                    raise
                is_blocked = isinstance(trouble, BrokerBlocked)
                self._control.reached(server=is_blocked)
                if is_blocked:
                    self._control.hold(str(trouble), self._probe_interval, asked=asked)
                else:
                    logger.info("trying again: %s", trouble)
                    self._control.enter("retrying", str(trouble))
                    self._control.wait(self._backoff.failed(), asked=asked)
        return [HandedOver()] * len(batch)

    def may_be_in_flight(self, since: float) -> None:
        """Wait for its end: it went to Lotus, before there was a relay, and that would send the same at once."""
        if (left := since + self._in_flight_limit - since_boot()) > 0:
            self._control.enter("retrying", f"the server may be at work on an earlier request: {left:.0f} s to wait")
            self._control.wait(left)

    def close(self) -> None:
        """Nothing: whoever opened the publisher closes it."""

    def _wait_out_alarm(self, trouble: str | None) -> None:
        if trouble is not None:
            self._control.enter("retrying", trouble)
        self._control.wait(0.0)
