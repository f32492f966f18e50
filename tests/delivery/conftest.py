"""What the tests of delivery share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig import no_settings_of_this_machine, rig, rigs  # noqa: F401  # fixtures

from .scripted_server import CERTIFICATE


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with the certificate of the loopback server, and its key."""
    path = tmp_path / "loopback.pem"
    path.write_text(CERTIFICATE)
    return path
