"""Arguments that say which events are meant; the same for every command that looks at events."""

from __future__ import annotations

import argparse

from lotus_durable.operate.where import Where

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "": 1.0}


def age(text: str) -> float:
    """Read a time such as ``30s``, ``15m``, ``12h`` or ``7d``; without a unit they are seconds.

    Raises:
        ArgumentTypeError: it is none.
    """
    number = text.rstrip("smhd")
    unit = _UNITS.get(text[len(number) :])
    try:
        seconds = float(number) * (unit or -1.0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"a time such as 30s, 15m, 12h or 7d is needed (it is {text!r})")
    return seconds


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add them; read them with :func:`where`."""
    group = parser.add_argument_group("which events", "those to which all of it applies")
    group.add_argument("--id", action="append", metavar="ID", help="with this idempotency id; may be repeated")
    group.add_argument("--customer", metavar="ID", help="of this customer")
    group.add_argument("--event-name", metavar="NAME", help="of this name")
    group.add_argument("--reason", metavar="TEXT", help="refused for a reason that holds this text")
    group.add_argument("--older-than", type=age, metavar="TIME", help="accepted so long ago or longer: 30s, 12h, 7d")
    group.add_argument("--newer-than", type=age, metavar="TIME", help="accepted no longer ago than this")


def where(arguments: argparse.Namespace) -> Where:
    """Return which events are meant."""
    given = vars(arguments)
    return Where(
        reason=given.get("reason") or "",
        customer_id=given.get("customer") or "",
        event_name=given.get("event_name") or "",
        older_than=given.get("older_than"),
        newer_than=given.get("newer_than"),
        ids=frozenset(given.get("id") or ()),
    )
