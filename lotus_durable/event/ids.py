"""Idempotency ids: UUIDs (version 4), random, and with the moment in them.

The random part is drawn for many ids at a time, because drawing for each event costs more. If a virtual machine is
cloned while it runs, both copies have the same random parts, and would give the same id to two different events. So the
last part of each id is the moment, in nanoseconds, which the two do not share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_LENGTH = 28  # 27 of a beginning, and what parts it from the next
_COUNT = 256  # so few calls pay for a refill, about what five more events cost, that it is not among the slowest 1 %
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
MOMENT = (1 << 29) - 1
NINE_DIGITS = 10**8
"""``beginning + str((now() & MOMENT) + NINE_DIGITS)`` is an id. It ends with nanoseconds, which come again after half a
second: to tell two copies apart that is as good as more of them. Decimal digits are hexadecimal ones too, and such a
number is small, so that writing it takes half of what 12 hexadecimal digits do."""


def random_id() -> str:
    """Return an id."""
    return beginnings()[0] + str((now() & MOMENT) + NINE_DIGITS)


def beginnings() -> list[str]:
    """Return the beginnings of a few hundred ids, to be taken out one by one.

    24 hexadecimal digits and 3 more that are random, but for the places that are not, which are written for all of them
    at once. From the operating system's generator: an id has to be unique among everybody's on a server, and not to be
    guessed.
    """
    digits = bytearray(os.urandom(_COUNT * _LENGTH // 2).hex(), "ascii")
    for dash in (8, 13, 18, 23):
        digits[dash::_LENGTH] = b"-" * _COUNT
    digits[14::_LENGTH] = b"4" * _COUNT
    digits[19::_LENGTH] = digits[19::_LENGTH].translate(_VARIANT)
    digits[27::_LENGTH] = b" " * _COUNT
    # At each blank, and not at any white space: that looks at each character twice. Behind the last one is nothing.
    return digits[:-1].decode("ascii").split(" ")
