"""The fixtures that come with the package."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lotus_durable import testing

if TYPE_CHECKING:
    from collections.abc import Callable

    from lotus_durable.testing import FakeLotus


def test_the_fixture_is_a_started_l24(fake_lotus: FakeLotus) -> None:
    assert fake_lotus.generation == "L24"
    assert fake_lotus.host.startswith("http://127.0.0.1:")


@pytest.mark.fake_lotus("L22", api_key="other")
def test_the_marker_says_how_it_is_built(fake_lotus: FakeLotus) -> None:
    assert (fake_lotus.generation, fake_lotus.api_key) == ("L22", "other")


def test_the_factory_starts_several(fake_lotus_factory: Callable[..., FakeLotus]) -> None:
    one, other = fake_lotus_factory("L22"), fake_lotus_factory("L24")
    assert one.port != other.port


def test_the_plugin_imports_no_server_until_a_test_uses_it() -> None:
    check = (
        "import sys, pytest\n"
        "import lotus_durable.testing.pytest_plugin\n"
        "loaded = {m.rpartition('.')[2] for m in sys.modules if m.startswith('lotus_durable.testing.')}\n"
        "sys.exit(loaded != {'pytest_plugin', 'isolation', 'hosts'})\n"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_every_public_name_can_be_imported() -> None:
    assert dir(testing) == sorted(testing.__all__)
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        testing.FakeNothing  # noqa: B018
