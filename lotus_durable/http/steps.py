"""What is done in steps, with other work in between, taken all at once."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

_Result = TypeVar("_Result")


def result_of(steps: Generator[None, None, _Result]) -> _Result:
    """Take all steps one after the other, and return what they come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result
