"""Waiting until a relay has settled all that is in the broker's queue now: by a mark behind it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp

from lotus_durable.clock import monotonic

from .address import Address, Node
from .connection import BrokerTrouble, Opened, trouble_of
from .message import Mark
from .publisher import Publisher

_LOOK_INTERVAL = 0.5
_PAUSE = 1.0
"""Seconds between two tries after the connection was lost."""


class _TimeIsUp(Exception):
    """Nobody waits any more."""


def wait_through(address: Address, ends_at: float, watch: Callable[[], None]) -> str | None:
    """Return None when a relay has settled everything that is in the queue now, else why not.

    Args:
        address: of the queue.
        ends_at: when to give up, by the monotonic clock.
        watch: called now and then.
    """
    tries = 0
    trouble: BrokerTrouble | None = None
    while monotonic() < ends_at:
        tries += 1
        try:
            if _is_reached(address, address.node(tries), ends_at, watch):
                return None
        except BrokerTrouble as found:
            trouble = found
            if trouble.needs_person:
                return trouble.reason
            _wait(min(ends_at, monotonic() + _PAUSE), watch)
    return "no relay has delivered it in time" if trouble is None else trouble.reason


def _is_reached(address: Address, node: Node, ends_at: float, watch: Callable[[], None]) -> bool:
    """Publish a mark and wait for its answer; False where there is none in time."""
    token = os.urandom(16)
    expected = Mark(token).encode()
    answers: list[bytes] = []

    def look(_: object = None) -> None:
        watch()
        if monotonic() > ends_at:
            raise _TimeIsUp

    with _listening(address, node, answers.append) as (connection, queue):
        publisher = Publisher(address, node)
        try:
            publisher.publish(expected, look, reply_to=queue)
            while expected not in answers:
                look()
                try:
                    connection.drain_events(timeout=_LOOK_INTERVAL)
                except TimeoutError:
                    continue
        except _TimeIsUp:
            return False
        finally:
            publisher.close()
    return True


@contextmanager
def _listening(address: Address, node: Node, take: Callable[[bytes], None]) -> Iterator[tuple[Any, str]]:
    """Give a connection, and a queue that ends with it whose messages are taken."""
    opened = Opened(address, node)
    try:
        queue = opened.channel.queue_declare("", exclusive=True).queue
        opened.channel.basic_consume(queue, no_ack=True, callback=lambda message: take(message.body))
        yield opened.connection, queue
    except (OSError, amqp.AMQPError) as error:
        raise trouble_of(error, node) from error
    finally:
        opened.drop()


def _wait(until: float, watch: Callable[[], None]) -> None:
    while (left := until - monotonic()) > 0:
        watch()
        time.sleep(min(left, 0.1))
