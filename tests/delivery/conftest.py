"""What the tests of delivery share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.rig import rig, rigs  # noqa: F401  # fixtures

from .scripted_server import CERTIFICATE


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
            monkeypatch.delenv(name)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with the certificate of the loopback server, and its key."""
    path = tmp_path / "loopback.pem"
    path.write_text(CERTIFICATE)
    return path
