"""What commands that change a queue have in common: they wait for the flusher, and some ask before."""

from __future__ import annotations

import argparse
import sys

from lotus_durable.errors import ConfigurationError
from lotus_durable.operate import PATIENCE

from .arguments import seconds


def add_changing(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says how long to wait."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=PATIENCE,
        metavar="SECONDS",
        help=f"how long to wait for a flusher in the middle of a request (default: {PATIENCE:g})",
    )


def waits_for(who: str) -> None:
    """Say who is waited for."""
    sys.stderr.write(f"waiting: {who}\n")
    sys.stderr.flush()


def confirmed(question: str, option: str) -> bool:
    """Ask at the terminal; where there is none, say which option answers.

    Raises:
        ConfigurationError: nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(f"nobody can be asked here: confirm with {option}")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = ""
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(": nothing was changed") from None
    finally:
        if not answer:  # Ctrl-C or Ctrl-D: what is said next begins a line
            sys.stderr.write("\n")
    return answer.strip().lower() in ("y", "yes")
