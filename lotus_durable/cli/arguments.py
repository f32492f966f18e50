"""Arguments that more than one command takes, and the question that some ask first."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from lotus_durable.errors import ConfigurationError
from lotus_durable.operate import WAITING, Waiting
from lotus_durable.operate.where import Where

from .output import tell

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "": 1.0}


def seconds(text: str) -> float:
    """Read a time such as ``30s``, ``15m``, ``12h`` or ``7d``; without a unit it is a number of seconds.

    Raises:
        ArgumentTypeError: it is none.
    """
    number = text.rstrip("smhd")
    unit = _UNITS.get(text[len(number) :], -1.0)
    try:
        read = float(number) * unit
    except ValueError:
        read = -1.0
    if not 0 <= read < float("inf"):
        raise argparse.ArgumentTypeError(f"a time such as 30s, 15m, 12h or 7d is needed (it is {text!r})")
    return read


def some_text(text: str) -> str:
    """Read what may be no empty text: a variable that is not set must not mean everything.

    Raises:
        ArgumentTypeError: it is one.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def whole_number(text: str) -> int:
    """Read a whole number, 0 or more.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number is needed (it is {text!r})")
    return int(text)


def add_timeout(parser: argparse.ArgumentParser, default: float | None = None) -> None:
    """Add the argument that says how long to wait for what the command is for."""
    shown = "as long as it takes" if default is None else f"{default:g}"
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=default,
        metavar="SECONDS",
        help=f"give up waiting after so long (default: {shown})",
    )


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says how long to wait for the flusher, of a command that changes a queue."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=WAITING.seconds,
        metavar="SECONDS",
        help=f"how long to wait for a flusher in the middle of a request (default: {WAITING.seconds:g})",
    )


def waiting(arguments: argparse.Namespace) -> Waiting:
    """Return how the command waits for the flusher; who is waited for is said."""
    return Waiting(arguments.wait, lambda who: tell(f"waiting: {who}"))


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add the argument that answers :func:`confirmed`."""
    parser.add_argument("--yes", action="store_true", default=False, help="do not ask")


def confirmed(arguments: argparse.Namespace, question: str) -> bool:
    """Ask at the terminal, unless ``--yes`` has answered.

    Raises:
        ConfigurationError: nobody can be asked.
    """
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError("nobody can be asked here: confirm with --yes")
    tell(f"{question} [y/N] ", end="")
    answer = ""
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(": nothing was changed") from None
    finally:
        if not answer:  # Ctrl-C or Ctrl-D: what is said next begins a line
            tell(question)
    return answer.strip().lower() in ("y", "yes")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a file for what is written."""
    parser.add_argument(
        "--output", type=some_text, default=None, metavar="FILE", help="write there (default: standard output)"
    )


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which events are meant; read them with :func:`where`."""
    group = parser.add_argument_group("which events", "those to which all of it applies")

    def add(name: str, field: str, metavar: str, about: str, **more: Any) -> None:  # noqa: ANN401  # argparse's
        group.add_argument(name, dest=field, metavar=metavar, help=about, **{"type": some_text, **more})

    add("--id", "ids", "ID", "with this idempotency id; may be repeated", action="append")
    add("--customer", "customer_id", "ID", "of this customer")
    add("--event-name", "event_name", "NAME", "of this name")
    add("--reason", "reason", "TEXT", "refused for a reason that holds this text")
    add("--older-than", "older_than", "TIME", "accepted so long ago at least: 30s, 12h, 7d", type=seconds)
    add("--newer-than", "newer_than", "TIME", "accepted no longer ago than this", type=seconds)


def where(arguments: argparse.Namespace) -> Where:
    """Return which events are meant."""
    given = vars(arguments)  # of an action, what was not given is not there
    return Where(**{name: given.get(name) for name in Where._fields})
