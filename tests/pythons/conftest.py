"""The tests here run applications as those of the flusher do."""

from __future__ import annotations

from tests.flusher.conftest import _no_settings_of_this_machine, scene, scenes  # noqa: F401  # fixtures
