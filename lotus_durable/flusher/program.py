"""What a child runs: it uploads until its starter is gone, or tells it to stop, or somebody else leads."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lotus_durable.imports import import_for_delivery
from lotus_durable.tracker import Process

from .messages import Ready, Refused, configuration_of
from .outbox import Outbox
from .spawn import LIFE, LOCK, REPORTS

if TYPE_CHECKING:
    from lotus_durable.delivery.candidate import Candidate

logger = logging.getLogger("lotus_durable")

_LOOK_INTERVAL = 0.2  # seconds
_FIRST_INTERVAL = 0.02
"""Seconds between two looks until it leads: its starter waits for that word."""
_PATIENCE = 2.0
"""Seconds without the leadership after which it ends: it was lost, and whoever finds that nobody leads starts anew."""
_FOR_THE_STARTER = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""What a terminal sends to all of its processes: if the starter ends by it, so does the child."""


def main(start: Mapping[str, Any]) -> None:
    """Upload. Ends with exit status 0: some servers look at what ends among their children, and end by it themselves.

    Args:
        start: what :func:`~.messages.start_message` says.
    """
    _close_what_was_not_given()
    for number in _FOR_THE_STARTER:
        signal.signal(number, signal.SIG_IGN)
    outbox = Outbox(REPORTS, start["log_level"])
    logger.setLevel(start["log_level"])
    logger.propagate = False
    logger.addHandler(outbox)
    process = Process(configuration_of(start), outbox.report)
    candidate = process.make_candidate(alone=True, inherited_lock=LOCK)
    import_for_delivery()
    threading.Thread(target=_stop_by_signal, args=(candidate,), name="lotus_durable signals", daemon=True).start()
    threading.Thread(target=_watch, args=(candidate, outbox), name="lotus_durable starter", daemon=True).start()
    candidate.run()
    process.close(0.0)
    logger.debug("the uploader process ends")
    outbox.close()


def _close_what_was_not_given() -> None:
    """Close what else came along: a server's listening sockets, say, which are made to be inherited."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            if int(name) > LOCK:
                with contextlib.suppress(OSError):
                    os.close(int(name))


def _stop_by_signal(candidate: Candidate) -> None:
    """Wait for SIGTERM, which its starter has blocked for all threads; a second one ends the process at once."""
    signal.sigwait({signal.SIGTERM})
    logger.info("SIGTERM: the uploader process stops after the request in flight")
    candidate.stop(None)
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


def _watch(candidate: Candidate, outbox: Outbox) -> None:
    """Tell when it leads; stop it when its starter is gone, and when it does not lead (any more)."""
    life = select.poll()
    life.register(LIFE, select.POLLIN)
    led_at = time.monotonic()
    has_led = False
    while time.monotonic() - led_at < _PATIENCE:
        # Nothing is written after the settings: what comes is the end.
        if life.poll((_LOOK_INTERVAL if has_led else _FIRST_INTERVAL) * 1000) and not os.read(LIFE, 1):
            break
        if candidate.leads:
            led_at = time.monotonic()
            if not has_led:
                outbox.send(Ready())
            has_led = True
    refusal = candidate.refusal()
    if refusal is not None and not has_led:
        outbox.send(Refused(refusal))
    candidate.stop(None)
