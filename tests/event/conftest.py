from __future__ import annotations

import pytest

from lotus_durable.event.encoder import EventEncoder

from .encoding import LIMIT


@pytest.fixture
def encoder() -> EventEncoder:
    return EventEncoder(LIMIT)
