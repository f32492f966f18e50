"""What the tests of requests and answers share."""

from __future__ import annotations

from tests.delivery.conftest import _no_settings_of_this_machine, certificate  # noqa: F401  # fixtures
