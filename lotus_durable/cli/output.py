"""What commands write: results to standard output, errors and progress to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence


def say(text: str) -> None:
    """Write a result, or a part of it, to standard output."""
    sys.stdout.write(f"{text}\n")


def say_json(result: Mapping[str, object]) -> None:
    """Write a result as one JSON object on one line."""
    say(json.dumps(result))


def plain(text: str) -> str:
    """Return a text of somebody else's as one line that cannot tell a terminal anything."""
    return "".join(each if each.isprintable() else " " for each in text)


def complain(name: str, message: str) -> None:
    """Write one line to standard error.

    Args:
        name: the program and the command, as the user called it.
        message: what is wrong.
    """
    sys.stdout.flush()
    sys.stderr.write(f"{name}: {' '.join(message.split())}\n")
    sys.stderr.flush()


def aligned(rows: Sequence[tuple[str, str, str]]) -> str:
    """Return rows of (name, figure, remark) with the figures right-aligned in a column."""
    name_width = max(len(name) for name, _, _ in rows)
    figure_width = max(len(figure) for _, figure, _ in rows)
    return "\n".join(
        f"{name:<{name_width}}  {figure:>{figure_width}}  {remark}".rstrip() for name, figure, remark in rows
    )
