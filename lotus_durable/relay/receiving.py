"""What a relay does: it stands by until it is the active one, then it opens Lotus and delivers what comes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import cast

from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.delivery.control import Control
from lotus_durable.delivery.loop import Loop
from lotus_durable.delivery.place import Destination, Source, Way
from lotus_durable.queue.directory import QueueDirectory

from .address import BrokerTrouble, address_of
from .handover import Broker
from .message import mark
from .publisher import Publisher
from .session import Session
from .source import FromBroker

logger: logging.Logger = logging.getLogger("lotus_durable")

_ASK_INTERVAL = 10.0
_LOOK_INTERVAL = 0.2
_CLEAR_AFTER = 60.0
"""Seconds after which a relay that has received nothing is not the active one."""
_STANDS_BY = "this relay stands by: another one is active"


class Receiving:
    """Opens the broker's queue as the source, and Lotus, by another destination, as the place."""

    def __init__(self, lotus: Destination) -> None:
        self._lotus = lotus
        self._next = os.urandom(1)[0]

    @contextmanager
    def opened(self, config: Config, source: Source, control: Control) -> Iterator[Way]:
        """Wait until this is the active relay, and until Lotus may be sent to.

        Raises:
            Stopped: it is time to end, or (Renewed) the connection to the broker was lost.
            BrokerTrouble: this node of the broker cannot be used now; the next time it is the next one.
        """
        assert config.relay_url is not None
        address = address_of(config.relay_url)

        def answer(to: str, why_not: str) -> None:
            publisher.wait(publisher.send(why_not.encode(), to=to), _wait_for_no_alarm)

        self._next += 1
        node = address.nodes[self._next % len(address.nodes)]
        session = Session(address, node, control, requeue_after=config.constants.requeue_after)
        with (
            closing(session),
            closing(Publisher(address, node)) as publisher,  # where that is cut off, the session notices
        ):
            _stand_by(session, publisher, source, config, control)
            control.before_request = session.prove
            with self._lotus.opened(config._replace(relay_url=None), source, control) as way:
                from_broker = FromBroker(source, session, QueueDirectory(config.queue_dir), control.report, answer)
                yield way._replace(source=cast("Source", from_broker))


def _stand_by(session: Session, publisher: Publisher, source: Source, config: Config, control: Control) -> None:
    """Wait for the first message. Now and then one without events is published: whoever is active receives it.

    When it is clear that another one is active, parked events that are due go into the broker's queue.
    """

    def meanwhile(trouble: str | None) -> None:
        _wait_for_no_alarm(trouble)
        if session.in_doubt_since is not None:
            raise BrokerTrouble("this relay is the active one")
        control.wait(0.0)

    broker = Broker(publisher, control, config, meanwhile)
    loop = Loop(source, control, [broker], config)
    asks_at = monotonic()
    is_clear_at = asks_at + _CLEAR_AFTER
    while session.in_doubt_since is None:
        # Whatever the broker does not take now it is asked again later; who is active knows by the next event, too.
        with suppress(BrokerTrouble):
            if monotonic() >= asks_at:
                asks_at = monotonic() + _ASK_INTERVAL
                publisher.wait(publisher.send(mark()), meanwhile)
                if monotonic() >= is_clear_at:
                    loop.try_parked()
            else:
                control.enter("idle", _STANDS_BY)
                control.answer(control.asked(), _STANDS_BY)
        control.wait(_LOOK_INTERVAL)
    control.enter("idle")


def _wait_for_no_alarm(trouble: str | None) -> None:
    """Go on while the broker takes nothing: a relay may be what empties it."""
    if trouble is not None:
        raise BrokerTrouble(trouble)
