"""Where a flusher's events go: Lotus over HTTP, or a broker, for a relay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from math import inf

from lotus_durable.calls.generation import Generation
from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.delivery.control import Control
from lotus_durable.delivery.lotus import Lotus, largest_answer
from lotus_durable.delivery.pace import Pace
from lotus_durable.delivery.place import Place, Source, Way
from lotus_durable.http.connection import Connection
from lotus_durable.http.routes import Routes
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.identity import fingerprint

from .organisation import Organisation

logger: logging.Logger = logging.getLogger("lotus_durable")

_IDLE_AT_MOST = 1.0
"""Seconds for which a connection to the server of 2022, or to one that is not known, is used again."""
_MOST_AT_ONCE = 4
"""Requests in flight, without anybody asking for more: with answers that take 50 ms, 40,000 events a second."""
_PAUSE = 1.0
"""Seconds between two tries while the server cannot be asked."""
_QUESTION_INTERVAL = 60.0
"""Seconds between two questions which server it is, to one that does not answer as it says."""


class AsConfigured:
    """Opens a broker where ``relay_url`` is set, else Lotus."""

    def __init__(self) -> None:
        self._lotus = ToLotus()

    def opened(
        self, config: Config, directory: QueueDirectory, source: Source, control: Control
    ) -> AbstractContextManager[Way]:
        """Open what is configured now."""
        if config.relay_url is None:
            return self._lotus.opened(config, directory, source, control)
        from lotus_durable.relay.handover import opened_broker  # with a library that only fleets need

        return opened_broker(config, control)


class ToLotus:
    """Opens Lotus for a flusher, each time that it begins anew, and keeps what does not change in between."""

    def __init__(self) -> None:
        self._own_keys: list[str] = []
        self._routes: Routes | None = None
        self._next_question = 0.0
        self._is_asked_again = False

    @contextmanager
    def opened(
        self,
        config: Config,
        directory: QueueDirectory,  # noqa: ARG002  # a broker's needs it
        source: Source,
        control: Control,
    ) -> Iterator[Way]:
        """Wait until this key may send, and open as many connections as requests may be in flight at once.

        That takes as long as it takes to know that this key may send.

        Raises:
            Stopped: it is time to end.
            OSError: the books cannot be read or written.
        """
        routes = self._routes_to(config.host)
        organisation = Organisation(
            config, routes, fingerprint(config.api_key), source, is_asked_again=self._is_asked_again
        )
        organisation.replaces(fingerprint(each) for each in self._former_keys(config))
        _wait_until_allowed(organisation, config, control)
        self._is_asked_again = False
        places = list(_places(routes, config, control, organisation.generation(), partial(self._ask_again, control)))
        try:
            yield Way(places, organisation.may_send)
        finally:
            for place in places:
                place.close()

    def _ask_again(self, control: Control) -> None:
        """Begin anew, now and then, where the server answers as another one than it is known as: it was replaced."""
        if monotonic() >= self._next_question:
            self._next_question = monotonic() + _QUESTION_INTERVAL
            self._is_asked_again = True
            control.renew("the server is another one by now: it is asked which")

    def _routes_to(self, host: str) -> Routes:
        """Return what was read of the CA bundle and the proxies: once, because a deploy may replace the files."""
        if self._routes is None or self._routes.base != host:
            self._routes = Routes(host)
        return self._routes

    def _former_keys(self, config: Config) -> list[str]:
        """Return those that ours replaces: what this flusher had before."""
        assert config.api_key is not None
        former = [*self._own_keys]
        if config.api_key not in former:
            self._own_keys.append(config.api_key)
        return former


def _wait_until_allowed(organisation: Organisation, config: Config, control: Control) -> None:
    while True:
        with control.request(is_question=True):
            permission = organisation.permission()
        control.reached(server=permission.reaches)
        control.note_key(organisation.key, is_foreign=permission.is_final)
        if permission.may_send:
            return
        assert permission.reason is not None
        asked = control.asked()
        if control.enter("blocked" if permission.is_final else "retrying", permission.reason):
            logger.warning("nothing is sent: %s", permission.reason)
        control.answer(asked, permission.reason)
        control.wait(config.constants.probe_interval if permission.is_final else _PAUSE, asked=asked)


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
    is_2024 = generation == "2024"
    most = _MOST_AT_ONCE if is_2024 else 1
    for _ in range(most if config.upload_concurrency == "auto" else config.upload_concurrency):
        connection = Connection(
            routes,
            config.api_key,
            connect_timeout=connect,
            read_timeout=read,
            largest_answer=largest_answer(config.max_batch_events),
        )
        yield Lotus(
            connection,
            control,
            config.constants,
            generation=generation,
            is_another=is_another if config.api_version == "auto" else lambda: None,
            in_flight_limit=None if is_2024 else read + config.constants.grace,
            idle_at_most=inf if is_2024 else _IDLE_AT_MOST,
            pace=pace,
        )
