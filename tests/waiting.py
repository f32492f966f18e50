"""Waiting for a condition, with a deadline instead of a sleep that hopes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT = 30.0
"""Seconds for what takes some thousandths of one on a machine that does nothing else."""


def wait_until(
    condition: Callable[[], T], what: str = "the condition", timeout: float = LIMIT, *, pause: float = 0.005
) -> T:
    """Return what the condition gives as soon as that is true.

    Raises:
        AssertionError: it is not within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(pause)
    return result
