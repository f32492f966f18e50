"""Where a flusher's events go: Lotus over HTTP, or a broker, for a relay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from lotus_durable.calls.generation import Generation
from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.delivery.control import Control
from lotus_durable.delivery.lotus import Lotus, largest_answer
from lotus_durable.delivery.pace import Pace
from lotus_durable.delivery.place import Place, Source, Way
from lotus_durable.http.connection import Connection
from lotus_durable.http.routes import Routes
from lotus_durable.queue.identity import fingerprint

from .organisation import Organisation

_MOST_AT_ONCE = 4
"""Requests in flight, without anybody asking for more: with answers that take 50 ms, 40,000 events a second."""
_PAUSE = 1.0
"""Seconds between two tries while the server cannot be asked."""
_QUESTION_INTERVAL = 60.0
"""Seconds between two questions which server it is, to one that does not answer as it says."""


class AsConfigured:
    """Opens a broker where ``relay_url`` is set, else Lotus; of that it keeps what does not change in between."""

    def __init__(self) -> None:
        self._own_keys: set[bytes] = set()
        self._routes: Routes | None = None
        self._next_question = 0.0
        self._is_asked_again = False

    def opened(self, config: Config, source: Source, control: Control) -> AbstractContextManager[Way]:
        """Open what is configured now."""
        if config.relay_url is None:
            return self._opened_lotus(config, source, control)
        from lotus_durable.relay.handover import opened_broker  # with a library that only fleets need

        return opened_broker(config, control)

    @contextmanager
    def _opened_lotus(self, config: Config, source: Source, control: Control) -> Iterator[Way]:
        """Wait until this key may send, and open as many connections as requests may be in flight at once."""
        key = fingerprint(config.api_key)
        if self._routes is None or self._routes.base != config.host:
            self._routes = Routes(config.host)  # once: a deploy may replace the CA bundle, and what says the proxies
        organisation = Organisation(config, self._routes, key, source, is_asked_again=self._is_asked_again)
        organisation.replaces(self._own_keys)  # what this flusher had before
        self._own_keys.add(key)
        _wait_until_allowed(organisation, config, control)
        self._is_asked_again = False
        ask_again = partial(self._ask_again, config, control)
        places = list(_places(self._routes, config, control, organisation.generation(), ask_again))
        try:
            yield Way(places, organisation.may_send)
        finally:
            for place in places:
                place.close()

    def _ask_again(self, config: Config, control: Control) -> None:
        """Begin anew, now and then, where the server answers as another one than it is known as: it was replaced."""
        if config.api_version == "auto" and monotonic() >= self._next_question:
            self._next_question = monotonic() + _QUESTION_INTERVAL
            self._is_asked_again = True
            control.renew("the server is another one by now: it is asked which")


def _wait_until_allowed(organisation: Organisation, config: Config, control: Control) -> None:
    while True:
        with control.request(is_question=True):
            obstacle = organisation.obstacle()
        control.reached(server=obstacle is None or obstacle.reaches)
        control.note_key(organisation.key, is_foreign=obstacle is not None and obstacle.is_final)
        if obstacle is None:
            return
        seconds = config.constants.probe_interval if obstacle.is_final else _PAUSE
        control.hold(obstacle.reason, seconds, asked=control.asked(), is_blocked=obstacle.is_final)


def _places(
    routes: Routes, config: Config, control: Control, generation: Generation | None, is_another: Callable[[], None]
) -> Iterator[Place]:
    """Give one place for each request that may be in flight at once.

    The server of 2022, and so one that is not known, gets one unless somebody has asked for more.
    """
    assert config.api_key is not None
    connect, read = config.timeout
    rate = config.max_events_per_second
    pace = None if rate is None else Pace(rate, control.wait, lambda: control.last_beat.last_error_at)
    most = _MOST_AT_ONCE if generation == "2024" else 1
    for _ in range(most if config.upload_concurrency == "auto" else config.upload_concurrency):
        connection = Connection(
            routes,
            config.api_key,
            connect_timeout=connect,
            read_timeout=read,
            largest_answer=largest_answer(config.max_batch_events),
        )
        yield Lotus(connection, control, config, generation=generation, is_another=is_another, pace=pace)
