from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import bench as bench_module
from benchmarks.bench import Bench
from benchmarks.lotus_python import Unavailable, python_with_lotus
from benchmarks.scale import TINY
from benchmarks.subjects import LOTUS_PYTHON


def test_an_environment_that_is_there_is_used_as_it_is(tmp_path: Path) -> None:
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    python = tmp_path / f"lotus-python-0.12.0-py{version}" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert python_with_lotus(tmp_path) == python


def test_an_environment_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    with pytest.raises(Unavailable):
        python_with_lotus(occupied)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_it_the_run_goes_on_and_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise Unavailable("no network")

    monkeypatch.setattr(bench_module, "python_with_lotus", refuse)
    assert Bench(TINY, tmp_path).available([LOTUS_PYTHON]) == (
        [],
        ["skipped lotus-python track_event: its environment could not be made: no network"],
    )
