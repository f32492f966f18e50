"""What the tests of the uploader process share."""

from __future__ import annotations

import os

import pytest

from tests.rig import rig, rigs  # noqa: F401  # fixtures


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("LOTUS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
