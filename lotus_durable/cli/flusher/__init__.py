"""``lotus-durable flusher``: the flusher in the foreground, for a service manager.

Here is what is typed. ``run`` runs it with its log and metrics, ``service`` flushes with one configuration after the
other, and ``service_manager`` talks to systemd.
"""

from __future__ import annotations

import argparse

from lotus_durable.cli.arguments import argument
from lotus_durable.cli.command import Command
from lotus_durable.cli.output import ExitCode

OPTIONS = (
    "queue_dir",
    "api_key",
    "api_key_file",
    "host",
    "relay_url",
    "max_batch_events",
    "max_events_per_second",
    "upload_concurrency",
    "timeout",
    "sync_interval",
    "exit_timeout",
    "api_version",
    "debug",
)
"""Of a service: of the relay, too."""
_HIGHEST_PORT = 65_535
_DESCRIPTION = """\
Flush the queue in the foreground, until told to stop: for a service manager, beside programs that are set to
flusher="external". It is the same flusher that other programs start by themselves; a flusher that was started so makes
way for this one. A second one for the same queue waits until the first one ends, and says so. Logs to standard error,
and tells systemd how it goes (Type=notify or notify-reload, WatchdogSec=).

At SIGTERM and SIGINT (Ctrl-C) it ends the request in flight, sends what can be sent within exit_timeout, and exits; so
it does at `lotus-durable stop`. A second signal ends it at once, which loses nothing either: the events are sent again
and the server counts them once.

At SIGHUP it reads the environment file and the key file again (the environment of a running process cannot be changed).
The new settings count from the next request on. If something is wrong with them, that is logged and the old ones stay.
The queue directory and debug never change. A key that the server refuses is read again without a signal.

With --metrics it serves what is in the queue at http://ADDRESS:PORT/metrics, for Prometheus, also while it stands by.
Nothing there is secret, and nobody is asked who he is: choose an address that only Prometheus reaches."""


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"an address and a port are needed, such as 127.0.0.1:9464 (it is {text!r})")
    return host, int(port)


METRICS = argument(
    "--metrics",
    type=_address,
    metavar="ADDRESS:PORT",
    help="serve metrics for Prometheus there, such as 127.0.0.1:9464; needs 'lotus-durable[prometheus]'",
)
"""The relay takes it, too."""


def _run(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.flusher.destination import AsConfigured

    from .run import run  # here: the other commands do without all that this imports

    return run(arguments, destination=AsConfigured())


COMMAND = Command(
    name="flusher",
    summary="flush in the foreground, as a service",
    description=_DESCRIPTION,
    run=_run,
    arguments=(METRICS,),
    examples="lotus-durable flusher --queue-dir /var/lib/app/lotus --env-file /etc/app/lotus.env\n"
    "lotus-durable flusher --metrics 127.0.0.1:9464",
    options=(*OPTIONS, "flush_interval", "send"),
    done="stopped in order; what is pending is kept on disk, and counted in the last line of the log",
    not_complete="ended by itself, because a step took longer than it can",
    wrong_usage="wrong usage or configuration; the directory is unsafe or cannot be used",
    reports=False,
)
