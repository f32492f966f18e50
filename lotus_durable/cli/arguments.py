"""Arguments that more than one command takes, and the question that some ask first."""

from __future__ import annotations

import argparse
import sys

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
    parser.add_argument("--output", default=None, metavar="FILE", help="write there (default: standard output)")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which events are meant; read them with :func:`where`."""
    group = parser.add_argument_group("which events", "those to which all of it applies")
    group.add_argument("--id", action="append", metavar="ID", help="with this idempotency id; may be repeated")
    group.add_argument("--customer", metavar="ID", help="of this customer")
    group.add_argument("--event-name", metavar="NAME", help="of this name")
    group.add_argument("--reason", metavar="TEXT", help="refused for a reason that holds this text")
    group.add_argument("--older-than", type=seconds, metavar="TIME", help="accepted so long ago at least: 30s, 12h, 7d")
    group.add_argument("--newer-than", type=seconds, metavar="TIME", help="accepted no longer ago than this")


def where(arguments: argparse.Namespace) -> Where:
    """Return which events are meant."""
    given = vars(arguments)  # of an action, what was not given is not there
    return Where(
        reason=given.get("reason") or "",
        customer_id=given.get("customer") or "",
        event_name=given.get("event_name") or "",
        older_than=given.get("older_than"),
        newer_than=given.get("newer_than"),
        ids=frozenset(given.get("id") or ()),
    )
