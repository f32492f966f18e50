"""Types of arguments that more than one command takes."""

from __future__ import annotations

import argparse


def seconds(text: str) -> float:
    """Read a number of seconds, 0 or more.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds is needed (it is {text!r})")
    return number
