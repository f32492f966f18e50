"""A few hundred states of the power-cut model; the long run is a command: see docs/reliability.md."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_durable.option_types import Backend, Durability

from .run import SCENES, Outcome, Recording, examine, record
from .trace import why_not

pytestmark = pytest.mark.timeout(170)  # each process of a recording goes through strace: a busy machine takes long

_MEMORY = Path("/dev/shm")
"""Where syncs cost nothing: those of the recording are recorded all the same."""


@functools.cache
def why_not_here() -> str | None:
    return why_not()


@pytest.fixture(autouse=True)
def _needs_strace() -> None:
    if (why := why_not_here()) is not None:
        pytest.skip(why)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("power_cut")
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY) as made:
        yield Path(made)


@functools.cache
def recorded(backend: Backend, durability: Durability, folder: Path) -> Recording:
    place = folder / f"{backend}-{durability}"
    place.mkdir()
    return record(backend, durability, place)


def examined(recording: Recording, folder: Path) -> Outcome:
    return examine(recording, 120, 7, one_in=40, folder=folder, say=lambda _: None)


@pytest.mark.parametrize(("backend", "durability"), SCENES)
def test_after_a_power_cut_at_any_call_all_that_was_safe_is_there_and_counted_once(
    folder: Path, backend: Backend, durability: Durability
) -> None:
    outcome = examined(recorded(backend, durability, folder), folder)
    assert outcome.problems == []
    assert outcome.states >= 100
    assert outcome.by_flusher >= 2
    assert outcome.kept > outcome.states


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_the_model_finds_a_sync_that_is_missing(folder: Path, call: str) -> None:
    recording = recorded("journal", "power", folder)
    without = [each for each in recording.calls if each.name != call]
    outcome = examined(replace(recording, calls=without), folder)
    assert any("LOST" in problem for problem in outcome.problems)
