"""``lotus-durable verify``: ask Lotus whether it has what it took."""

from __future__ import annotations

import argparse

from lotus_durable.errors import ConfigurationError

from .arguments import WAIT, argument, seconds, waiting, whole_number
from .command import Command
from .existing import existing_queue
from .output import ExitCode, report
from .progress import Progress
from .wording import count

_DESCRIPTION = """\
Ask Lotus, by verify_idems_received, whether it has stored the events that it accepted: those in the segments that
keep_delivered keeps, and in those that are still written. Lotus answers "accepted" before an event is stored, so events
younger than --ingestion are left out. With --resend events that it does not know are pending again, with their ids and
times, and no longer count as delivered. Only the server of 2024 can be asked.

keys of --json:
  asked          events that it was asked about
  unknown        ids that it does not know, a list
  too_young      events that were not asked about yet
  resent         events that are pending again"""

_INGESTION = 120.0
_HOUR = 3600.0
_SHOWN = 20


def _run(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.operate.verifying import verify  # with requests, filelock and SQLite

    config = existing_queue(arguments).config
    if config.api_key is None:
        raise ConfigurationError("api_key: it is needed to ask the server (LOTUS_API_KEY or LOTUS_API_KEY_FILE)")
    with Progress("asked") as progress:
        result = verify(
            config,
            newer_than=None if arguments.hours is None else arguments.hours * _HOUR,
            ingestion_takes=arguments.ingestion,
            resend=arguments.resend,
            waiting=waiting(arguments),
            watch=progress.show,
        )
    lines = [f"unknown to the server: {id_}" for id_ in result.unknown[:_SHOWN]]
    if len(result.unknown) > _SHOWN:
        lines.append(f"… and {count(len(result.unknown) - _SHOWN)} more: --json has them all")
    young = f"; {count(result.too_young)} are too young to ask" if result.too_young else ""
    again = f"; {count(result.resent, 'event')} pending again" if result.resent else ""
    known = count(result.asked - len(result.unknown))
    lines.append(f"the server has {known} of {count(result.asked, 'event')}{young}{again}")
    return report(arguments, result._asdict(), *lines, code=ExitCode.NOT_COMPLETE if result.unknown else ExitCode.DONE)


COMMAND = Command(
    name="verify",
    summary="ask Lotus whether it has stored what it accepted",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        argument("--hours", type=whole_number(), metavar="N", help="only those of the last N hours (default: all)"),
        argument("--resend", action="store_true", help="have what is unknown delivered again"),
        argument(
            "--ingestion",
            type=seconds,
            default=_INGESTION,
            metavar="SECONDS",
            help=f"how long the server may take to store an event (default: {_INGESTION:g})",
        ),
        WAIT,
    ),
    options=("queue_dir", "api_key", "api_key_file", "host", "timeout", "call_timeout", "api_version"),
    examples="LOTUS_KEEP_DELIVERED=86400 for the application, and then each hour\nlotus-durable verify --hours 24\n"
    "lotus-durable verify --hours 24 --resend",
    done="the server has all that it was asked about",
    not_complete="it does not know some; with --resend they are pending again",
    wrong_usage="wrong usage or configuration; the server does not answer, or cannot say",
)
