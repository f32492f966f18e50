"""Arguments that more than one command takes, and the question that some ask first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from lotus_durable.errors import ConfigurationError
from lotus_durable.operate import WAITING, Waiting, Where

from .output import tell

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "": 1.0}
_LONGEST = 100 * 365 * 86_400.0
"""Seconds; what the system waits for, and what SQLite counts to, has an end."""


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
    if not 0 <= read <= _LONGEST:
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


def whole_number(least: int = 0, most: int = sys.maxsize) -> Callable[[str], int]:
    """Return what reads a whole number between these, and raises ArgumentTypeError where it is none."""
    range_ = f"{least} or more" if most == sys.maxsize else f"{least} to {most}"

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"a whole number, {range_}, is needed (it is {text!r})")
        return int(text)

    return read


Argument: TypeAlias = Callable[[argparse._ActionsContainer], object]
"""One that a command takes; it adds itself to a parser."""


def argument(*names: str, **options: Any) -> Argument:  # noqa: ANN401  # argparse's
    """Return one with these names, and what ``ArgumentParser.add_argument`` takes beside them."""
    return lambda parser: parser.add_argument(*names, **options)


def timeout(default: float | None = None) -> Argument:
    """Return the argument that says how long to wait for what the command is for."""
    shown = "as long as it takes" if default is None else f"{default:g}"
    about = f"give up waiting after so long (default: {shown})"
    return argument("--timeout", type=seconds, default=default, metavar="SECONDS", help=about)


WAIT = argument(
    "--wait",
    type=seconds,
    default=WAITING.seconds,
    metavar="SECONDS",
    help=f"how long to wait for a flusher in the middle of a request (default: {WAITING.seconds:g})",
)
"""How long to wait for the flusher, of a command that changes a queue; see :func:`waiting`."""
YES = argument("--yes", action="store_true", help="do not ask")
"""It answers :func:`confirmed`."""
OUTPUT = argument("--output", type=some_text, metavar="FILE", help="write there (default: standard output)")
FILTERS = (
    argument(
        "--id",
        dest="ids",
        type=some_text,
        action="append",
        metavar="ID",
        help="with this idempotency id; may be repeated",
    ),
    argument("--customer", dest="customer_id", type=some_text, metavar="ID", help="of this customer"),
    argument("--event-name", type=some_text, metavar="NAME", help="of this name"),
    argument("--reason", type=some_text, metavar="TEXT", help="refused for a reason that holds this text"),
    argument("--older-than", type=seconds, metavar="TIME", help="accepted so long ago at least: 30s, 12h, 7d"),
    argument("--newer-than", type=seconds, metavar="TIME", help="accepted no longer ago than this"),
)
"""Which events are meant; see :func:`where`."""


def waiting(arguments: argparse.Namespace) -> Waiting:
    """Return how the command waits for the flusher; who is waited for is said."""
    return Waiting(arguments.wait, lambda who: tell(f"waiting: {who}"))


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


def where(arguments: argparse.Namespace) -> Where:
    """Return which events are meant by :data:`FILTERS`."""
    return Where(**{name: getattr(arguments, name, None) for name in Where._fields})  # not every command has them
