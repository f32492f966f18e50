"""A FakeLotus that also remembers over which connection each batch came, and when it was in flight."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from lotus_durable.testing import FakeLotus
from lotus_durable.testing.exchange import Reply
from lotus_durable.testing.listener import Connection


@dataclass(frozen=True, slots=True)
class Sent:
    """One request with events."""

    connection: int
    began: float
    ends: float
    """When its answer was begun to be sent."""


class WatchedLotus(FakeLotus):
    """A server that can tell whether two have sent to it at once."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sent: list[Sent] = []

    def decide(self, connection: Connection) -> Reply:
        began = time.monotonic()
        reply = super().decide(connection)
        if connection.request.path == "/api/track/" and (connection.request.content_length or 0) > len(b'{"batch":[]}'):
            self.sent.append(Sent(threading.get_ident(), began, time.monotonic() + reply.delay))
        return reply

    def senders_take_turns(self) -> bool:
        """Whether nobody sent again on a connection after events had come over another one."""
        order = [each.connection for each in sorted(self.sent, key=lambda each: each.began)]
        turns = [each for number, each in enumerate(order) if number == 0 or order[number - 1] != each]
        return len(turns) == len(set(turns))

    def most_at_once(self) -> int:
        """Return how many requests were in flight at once, at the most."""
        changes = [(each.began, 1) for each in self.sent] + [(each.ends, -1) for each in self.sent]
        now = most = 0
        for _, change in sorted(changes):
            now += change
            most = max(most, now)
        return most
