"""What is typed: ``lotus-durable flusher``."""

from __future__ import annotations

import argparse

from lotus_durable.cli.command import Command, ExitCode

_DESCRIPTION = """\
Flush the queue in the foreground, until told to stop: for a service manager, beside programs that are set to
flusher="external". It is the same flusher that other programs start by themselves; one that was started so makes way
for it. A second one for the same queue waits until the first one ends, and says so. Logs to standard error, and tells
systemd how it goes (Type=notify or notify-reload, WatchdogSec=).

SIGTERM and SIGINT (Ctrl-C) let the request in flight end, send what can be sent within exit_timeout, and exit; so does
`lotus-durable stop`. A second signal ends it at once, which loses nothing either: the events are sent again and the
server counts them once.

SIGHUP reads the configuration again: the environment file and the key file, for the environment of a running process
cannot be changed. Delivery goes on with what is new after the request in flight. What is wrong is logged and changes
nothing. The queue directory and debug stay what they were at the start. A key that the server refuses is read again by
itself, from wherever it came."""


def _run(arguments: argparse.Namespace) -> ExitCode:
    from .run import run  # here: the other commands do without all that this imports

    return run(arguments)


COMMAND = Command(
    name="flusher",
    summary="flush in the foreground, as a service",
    description=_DESCRIPTION,
    run=_run,
    examples="lotus-durable flusher --queue-dir /var/lib/app/lotus --env-file /etc/app/lotus.env",
    options=(
        "queue_dir",
        "api_key",
        "api_key_file",
        "host",
        "relay_url",
        "flush_interval",
        "max_batch_events",
        "max_events_per_second",
        "upload_concurrency",
        "timeout",
        "sync_interval",
        "exit_timeout",
        "api_version",
        "send",
        "debug",
    ),
    exit_codes={
        ExitCode.DONE: "stopped in order; what is pending is kept on disk, and counted in the last line of the log",
        ExitCode.NOT_COMPLETE: "ended by itself, because a step took longer than it can",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; the directory is unsafe or cannot be used",
        ExitCode.DAMAGED: "the queue is damaged, or of a later version",
    },
    reports=False,
)
