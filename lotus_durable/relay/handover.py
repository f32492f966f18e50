"""A broker as the place that a host's flusher sends to: what it has confirmed is handed over, not delivered."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from lotus_durable.config import Config, Constants
from lotus_durable.delivery.batch import Batch
from lotus_durable.delivery.control import Control, Stopped
from lotus_durable.delivery.outcome import HandedOver
from lotus_durable.delivery.place import Source, Way
from lotus_durable.errors import ConfigurationError
from lotus_durable.event.record import EVENT, unpack_record
from lotus_durable.http.backoff import Backoff
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.identity import ensure_identity

from .address import Address, address_of
from .message import MOST_EVENTS, Events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .connection import BrokerTrouble
    from .publisher import Publisher

logger: logging.Logger = logging.getLogger("lotus_durable")

_LONGEST_PAUSE = 10.0
"""Seconds, of the random wait: a whole fleet comes back at once, and the events wait on each host's disk meanwhile."""


class NotNow(Stopped):
    """The broker does not take it now, and nobody waits until it does."""


class ToBroker:
    """Opens a broker for a host's flusher."""

    @contextmanager
    def opened(self, config: Config, directory: QueueDirectory, source: Source, control: Control) -> Iterator[Way]:
        """Give the place at once: whether the broker can be reached shows with the first batch.

        Raises:
            ConfigurationError: ``relay_url`` is wrong, or what it takes is not installed.
            OSError: the directory cannot be read or written.
        """
        del source
        assert config.relay_url is not None
        address = address_of(config.relay_url)
        publisher = open_publisher(address)
        if not address.is_private():
            logger.warning("relay_url is not encrypted: the password and the events travel in the clear")
        place = Broker(publisher, ensure_identity(directory).queue_id, control, config.constants)
        try:
            yield Way([place], lambda _: True)  # each message names the key under which its events were tracked
        finally:
            place.close()


class Broker:
    """A place that hands batches over, one message for each. For one thread.

    Args:
        publisher: to the broker.
        queue_id: of the queue they come from.
        steps: between tries.
        constants: intervals.
        tries_once: what cannot be handed over now is not: :class:`NotNow` is raised instead of waiting.
    """

    max_events: int = MOST_EVENTS
    takes_repeats: bool = True

    def __init__(
        self, publisher: Publisher, queue_id: bytes, steps: Control, constants: Constants, *, tries_once: bool = False
    ) -> None:
        self._tries_once = tries_once
        self._publisher = publisher
        self._queue_id = queue_id
        self._steps = steps
        self._probe_interval = constants.probe_interval
        self._backoff = Backoff(base=constants.first_pause, cap=min(_LONGEST_PAUSE, constants.longest_pause))
        # No more than one request of the relay takes: that holds some hundred messages in memory.
        self.max_bytes: int = constants.max_batch_bytes

    def encode(self, record: bytes) -> tuple[str, str, bytes]:
        """Return the record as it is; see :class:`~lotus_durable.delivery.place.Place`.

        The relay reads what is in it. Only what is no event to be sent stays here, with the reason.

        Raises:
            RecordError: it is none.
        """
        if not record.startswith(EVENT):
            unpack_record(record)
        return "", "", record

    def deliver(self, batch: Batch) -> Generator[None, None, Sequence[HandedOver]]:
        """Return when all are handed over; see :class:`~lotus_durable.delivery.place.Place`.

        Raises:
            Stopped: before that; they may be, and are again by whoever comes next.
        """
        for key, records in _by_key(batch).items():
            yield from self._hand_over(Events(self._queue_id, key, batch.through, records).encode())
        return [HandedOver()] * len(batch)

    def may_be_in_flight(self, since: float) -> None:
        """Nothing: a broker may have the same events twice."""

    def close(self) -> None:
        """Drop the connection."""
        self._publisher.close()

    def _hand_over(self, body: bytes) -> Generator[None, None, None]:
        from .connection import BrokerTrouble

        while True:
            asked = self._steps.asked()
            self._steps.enter("sending")
            try:
                with self._steps.request(is_question=True):
                    self._publisher.send(body)
                    yield
                    self._publisher.wait(self._meanwhile)
            except BrokerTrouble as trouble:
                if self._tries_once:
                    raise NotNow(trouble.reason) from trouble
                self._wait_for_better(trouble, asked)
            else:
                self._steps.reached(server=True)
                self._backoff.reset()
                return

    def _meanwhile(self, trouble: str | None) -> None:
        if trouble is not None:
            if self._tries_once:
                raise NotNow(trouble)
            self._steps.enter("retrying", trouble)
        self._steps.wait(0.0)

    def _wait_for_better(self, trouble: BrokerTrouble, asked: int) -> None:
        self._steps.reached(server=trouble.needs_person)
        pause = self._probe_interval if trouble.needs_person else self._backoff.failed()
        wait_for_better(trouble, "nothing is handed over, events are kept", self._steps, pause, asked)


def wait_for_better(trouble: BrokerTrouble, outcome: str, steps: Control, pause: float, asked: int) -> None:
    """Log a trouble once, and wait; where a person has to mend it, tell so whoever has asked for a drain.

    Args:
        trouble: that a try has met.
        outcome: what does not happen for it.
        steps: between two tries.
        pause: seconds.
        asked: the last request for a drain before the try.

    Raises:
        Stopped: it is time to end.
    """
    if steps.enter("blocked" if trouble.needs_person else "retrying", trouble.reason):
        logger.warning("%s: %s", outcome, trouble.reason)
    if trouble.needs_person:
        steps.answer(asked, trouble.reason)
    steps.wait(pause, asked=asked)


def _by_key(batch: Batch) -> dict[bytes, list[bytes]]:
    """Return the records by the API key under which they were tracked: of parked events each has its own."""
    if not batch.rows:
        return {batch.key: batch.records} if batch.records else {}
    found: dict[bytes, list[bytes]] = {}
    for row, record in zip(batch.rows, batch.records, strict=True):
        found.setdefault(row.key, []).append(record)
    return found


def open_publisher(address: Address) -> Publisher:
    """Return what publishes there; it connects when it is first used.

    Raises:
        ConfigurationError: the library is not installed.
    """
    with library_needed_by("relay_url"):
        from .publisher import Publisher
    return Publisher(address)


@contextmanager
def library_needed_by(what: str) -> Iterator[None]:
    """Say what to install where an import fails for want of the library.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        if error.name not in ("amqp", "vine"):
            raise
        raise ConfigurationError(f"{what} needs the library amqp: pip install 'lotus-durable[relay]'") from None
