"""What the tests of the flusher share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rig import no_settings_of_this_machine, rigs  # noqa: F401  # fixtures

from .scene import Scene


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Return a function that takes the arguments of FakeLotus and gives a scene; all processes of it are ended."""
    with contextlib.ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> Scene:
            made = Scene(tmp_path / f"scene{len(tuple(tmp_path.iterdir()))}", *arguments, **options)
            return stack.enter_context(made)

        yield make


@pytest.fixture
def scene(scenes: Callable[..., Scene]) -> Scene:
    """A queue directory that is not made yet, and a server of 2024."""
    return scenes()
