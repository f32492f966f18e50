"""The tests here run applications as those of the flusher do."""

from __future__ import annotations

from tests.flusher.conftest import scene, scenes  # noqa: F401  # fixtures
from tests.rig import no_settings_of_this_machine  # noqa: F401  # a fixture
