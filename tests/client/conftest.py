"""What the tests of the client share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.rig import no_settings_of_this_machine, rig, rigs  # noqa: F401  # fixtures


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads take turns fifty times as often: more places to meet in, and less time to wait for a turn."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(before)
