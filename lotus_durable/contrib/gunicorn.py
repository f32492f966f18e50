"""gunicorn settings: a flusher under the arbiter's care, so that no worker spends its time on uploading.

::

    gunicorn -c python:lotus_durable.contrib.gunicorn app:application

or, in a configuration file of your own::

    from lotus_durable.contrib.gunicorn import on_exit, on_reload, raw_env, when_ready

The flusher starts when the arbiter is ready and is started again when it dies. A reload (SIGHUP) has it read its
configuration again. At the end what is pending is drained, for ``LOTUS_EXIT_TIMEOUT`` seconds at the most, and the
flusher ends. It takes its configuration from the environment, ``LOTUS_ENV_FILE`` and ``LOTUS_API_KEY_FILE``: settings
that only the application knows do not reach it.

No hook is needed for safety: without them one of the workers uploads, and what is tracked is on disk in any case.
Nothing here imports gunicorn.
"""

from __future__ import annotations

import logging
import os
from typing import Protocol

from lotus_durable.keeper import FlusherKeeper, RunAs

__all__ = ["on_exit", "on_reload", "raw_env", "when_ready"]

raw_env = [] if "LOTUS_FLUSHER" in os.environ else ["LOTUS_FLUSHER=external"]
"""Makes the workers leave the uploading to the flusher, unless the environment says who uploads."""


class _Settings(Protocol):
    uid: int
    gid: int


class _Log(Protocol):
    error_log: logging.Logger


class Arbiter(Protocol):
    """What of gunicorn's arbiter is used here."""

    cfg: _Settings
    log: _Log


_keepers: list[FlusherKeeper] = []
"""At most one: the arbiter's. The workers inherit it, and it does nothing in them."""


def when_ready(server: Arbiter) -> None:
    """Start the flusher, as the user whom the workers run as."""
    settings = server.cfg
    is_same = (settings.uid, settings.gid) == (os.geteuid(), os.getegid())
    keeper = FlusherKeeper(server.log.error_log, None if is_same else RunAs(settings.uid, settings.gid))
    _keepers.append(keeper)
    keeper.start()


def on_reload(server: Arbiter) -> None:
    """Have the flusher read its configuration again."""
    if not _keepers:
        when_ready(server)  # these settings are new
    for keeper in _keepers:
        keeper.reload()


def on_exit(server: Arbiter) -> None:
    """Drain, and end the flusher."""
    del server
    while _keepers:
        keeper = _keepers.pop()
        keeper.drain()
        keeper.stop()
