"""Idempotency ids: UUIDs (version 4), random, and with the moment in them.

The random part is drawn for many ids at a time, because drawing for each event costs more. If a virtual machine is
cloned while it runs, both copies have the same random parts, and would give the same id to two different events. So the
last part of each id is the moment, in nanoseconds, which the two do not share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from time import perf_counter_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LENGTH = 24
_COUNT = 64  # one call in 64 pays for a refill, about what three more events cost
_SLICES = tuple(slice(start, start + _LENGTH) for start in range(0, _COUNT * _LENGTH, _LENGTH))
_VARIANT = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)


class TrackedId(str):
    """The id that the module's ``track_event`` returns: a ``str`` that can also be unpacked like lotus-python's result.

    Without that ``ok, message = track_event(…)`` would fail after the event was accepted, and be tracked once more.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        """Give True and the id; never its characters, which nobody asks for."""
        return iter((True, str(self)))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Be a plain ``str`` wherever it is unpickled."""
        return str, (str(self),)


now: Callable[[], int] = perf_counter_ns
MOMENT = (1 << 47) - 1
TWELVE_DIGITS = 1 << 47
"""``f"{now() & MOMENT | TWELVE_DIGITS:x}"`` is how an id ends."""


def random_id() -> str:
    """Return an id."""
    return f"{next(beginnings())}{now() & MOMENT | TWELVE_DIGITS:x}"


def beginnings() -> Iterator[str]:
    """Give the beginnings of a few dozen ids.

    One iterator, advanced in C: not even a signal handler in the middle of a call can be given the same one.
    """
    return map(_written().__getitem__, _SLICES)


def _written() -> str:
    """Write the beginnings one after the other.

    24 random hexadecimal digits each, and then the places that are not random, for all of them at once. From the
    operating system's generator: an id has to be unique among everybody's on a server, and not to be guessed.
    """
    digits = bytearray(os.urandom(_COUNT * _LENGTH // 2).hex(), "ascii")
    for dash in (8, 13, 18, 23):
        digits[dash::_LENGTH] = b"-" * _COUNT
    digits[14::_LENGTH] = b"4" * _COUNT
    digits[19::_LENGTH] = digits[19::_LENGTH].translate(_VARIANT)
    return digits.decode("ascii")
