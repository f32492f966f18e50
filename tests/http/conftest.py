"""What the tests of requests and answers share."""

from __future__ import annotations

import os

from tests.delivery.conftest import certificate  # noqa: F401  # a fixture
from tests.rig import no_settings_of_this_machine  # noqa: F401  # a fixture


def open_sockets() -> set[str]:
    """Return the sockets that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the directory's own
        if target.startswith("socket:"):
            found.add(target)
    return found
