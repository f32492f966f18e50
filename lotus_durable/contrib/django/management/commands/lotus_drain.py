"""``manage.py lotus_drain``: have everything that is pending delivered, with the project's settings."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

import lotus_durable
from lotus_durable.cli.arguments import seconds
from lotus_durable.errors import LotusError


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """See ``lotus-durable drain``, which does the same with options from the environment."""

    help = "Have all usage events that are pending delivered, and wait for it. Exit code 1: events remain."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what it takes."""
        parser.add_argument(
            "--timeout", type=seconds, metavar="SECONDS", help="give up after so long (default: as long as it takes)"
        )

    def handle(self, *_: Any, timeout: float | None, **__: Any) -> None:  # noqa: ANN401  # what Django passes
        """Drain.

        Raises:
            CommandError: events remain; the message says why.
        """
        try:
            report = lotus_durable.drain(timeout)
        except LotusError as error:
            raise CommandError(str(error)) from None
        done = report.delivered + report.handed_over
        self.stdout.write(f"{done} delivered, {report.remaining} pending in {report.elapsed:.1f} s")
        if not report.complete:
            raise CommandError(f"not complete, {report.remaining} events pending: {report.reason}")
