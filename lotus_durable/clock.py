"""Clocks for waits, ages and deadlines: nobody can set them, and no test tool freezes them.

``time.monotonic`` is not used on purpose: tools that freeze time in an application's tests (freezegun) replace it in
every module, and then a wait that is measured by it never ends.
"""

from __future__ import annotations

import time
from functools import cache

from lotus_durable.disk import DiskErrorsSuppressed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MONOTONIC = time.CLOCK_MONOTONIC
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", MONOTONIC)
_gettime = time.clock_gettime
_BUILTIN: type = type(_gettime)


def monotonic() -> float:
    """Return seconds since some moment; the same clock for every process of a machine, and it stops in a suspend."""
    return _gettime(MONOTONIC)


def quickest() -> Callable[[], float]:
    """Return the clock of :func:`monotonic` at half the price, for who asks it twice with each event.

    It is ``time.perf_counter``, where that is this clock and nobody has replaced it. To be kept in an object:
    what a module has under a name is what tools that freeze time look for.
    """
    clock = time.perf_counter
    is_it = isinstance(clock, _BUILTIN) and "CLOCK_MONOTONIC)" in time.get_clock_info("perf_counter").implementation
    return clock if is_it else monotonic


def since_boot() -> float:
    """Return seconds since the machine started, suspends included: to compare between processes, with the boot id."""
    return _gettime(_SINCE_BOOT)


@cache
def boot_id() -> str:
    """Return what names this start of the machine; empty where it has no name, as on macOS."""
    with DiskErrorsSuppressed(), open("/proc/sys/kernel/random/boot_id", "rb") as opened:  # as text it imports a codec
        return opened.read().decode().strip()
    return ""
