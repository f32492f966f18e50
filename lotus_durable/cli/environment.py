"""The environment variables in a command's help, made from the options' own descriptions."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from lotus_durable.config import describe
from lotus_durable.options import environment_name

_WIDTH = 100


def environment_help(options: Sequence[str]) -> str:
    """Return the part of a help text that lists the variables of these options."""
    if not options:
        return "environment variables: none is used"
    described = {name: (default, about) for name, default, about in describe()}
    column = max(len(environment_name(option)) for option in options) + 4
    lines = ["environment variables:"]
    for option in options:
        default, about = described[option]
        lines += textwrap.wrap(
            f"{about} (default: {default})" if default else about,
            width=_WIDTH,
            initial_indent=f"  {environment_name(option)}".ljust(column),
            subsequent_indent=" " * column,
        )
    return "\n".join(lines)
