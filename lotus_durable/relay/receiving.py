"""What a relay does: it stands by until it is the active one, then it opens Lotus and delivers what comes."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.delivery.control import Control
from lotus_durable.delivery.loop import Loop
from lotus_durable.delivery.place import Destination, Source, Way
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.identity import ensure_identity

from .address import Address, BrokerTrouble, address_of
from .handover import Broker, Patience
from .message import mark
from .publisher import Publisher
from .session import Session
from .source import FromBroker

logger: logging.Logger = logging.getLogger("lotus_durable")

_LONGEST_PAUSE = 5.0
"""Seconds, of the random wait between two tries: there are few relays, and one node of three may be down."""
_ASK_INTERVAL = 10.0
_LOOK_INTERVAL = 0.2
_CLEAR_AFTER = 60.0
"""Seconds after which a relay that has received nothing is not the active one."""
_HAND_INTERVAL = 10.0
_STANDS_BY = "this relay stands by: another one is active"


class Receiving:
    """Opens the broker's queue as the source, and Lotus as the place.

    Args:
        lotus: opens Lotus.
    """

    def __init__(self, lotus: Destination) -> None:
        self._lotus = lotus
        self._next = os.urandom(1)[0]

    @contextmanager
    def opened(self, config: Config, directory: QueueDirectory, source: Source, control: Control) -> Iterator[Way]:
        """Wait until this is the active relay, and until Lotus may be sent to.

        Raises:
            Stopped: it is time to end, or (Renewed) the connection to the broker was lost.
            ConfigurationError: ``relay_url`` is wrong.
            OSError: the books cannot be read or written.
        """
        assert config.relay_url is not None
        assert isinstance(source, Consumer)
        address = address_of(config.relay_url)
        queue_id = ensure_identity(directory).queue_id
        session = self._session(address, config, control)
        # At the same node: where that is cut off, the session notices.
        publisher = Publisher(address, address.node(self._next))
        broker = Broker(publisher, queue_id, control, config.constants, tries_once=True)

        def answer(to: str) -> None:
            try:
                publisher.wait(publisher.send(b"", to=to), broker.meanwhile)
            except BrokerTrouble as trouble:
                logger.debug("nobody can be told that a mark is reached: %s", trouble.reason)

        try:
            _wait_until_active(session, publisher, Loop(source, control, [broker], config), control)
            control.before_request = session.prove
            with self._lotus.opened(config, directory, source, control) as way:
                from_broker = FromBroker(source, session, directory, control.report, answer)
                yield way._replace(source=cast("Source", from_broker))
        finally:
            publisher.close()
            session.close()

    def _session(self, address: Address, config: Config, control: Control) -> Session:
        """Connect to one node after the other until one takes us."""

        def lost(reason: str) -> None:
            logger.warning("%s", reason)
            control.renew(reason)
            control.wake.set()

        patience = Patience(control, config.constants, _LONGEST_PAUSE, "nothing is received")
        while True:
            asked = control.asked()
            self._next += 1
            try:
                return Session(
                    address,
                    address.node(self._next),
                    lost=lost,
                    arrived=control.wake.set,
                    requeue_after=config.constants.requeue_after,
                )
            except BrokerTrouble as trouble:
                patience.wait(trouble, asked)


def _wait_until_active(session: Session, publisher: Publisher, loop: Loop, control: Control) -> None:
    """Wait for the first message. Now and then one without events is published: whoever is active receives it.

    When it is clear that another one is active, parked events that are due go into the broker's queue.
    """
    asks_at = monotonic()
    hands_at = asks_at + _CLEAR_AFTER
    while session.in_doubt_since is None:
        # Whatever the broker does not take now it is asked again later; who is active knows by the next event, too.
        with contextlib.suppress(BrokerTrouble):
            if monotonic() >= asks_at:
                asks_at = monotonic() + _ASK_INTERVAL
                publisher.send(mark())
            elif monotonic() >= hands_at:
                hands_at = monotonic() + _HAND_INTERVAL
                loop.try_parked()
            else:
                control.enter("idle", _STANDS_BY)
                control.answer(control.asked(), _STANDS_BY)
        control.wait(_LOOK_INTERVAL)
    control.enter("idle")
