"""Finding the Python that runs us, also where ``sys.executable`` is something else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lotus_durable.flusher.spawn import find_interpreter

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def _looked_for_anew() -> Iterator[None]:
    find_interpreter.cache_clear()
    yield
    find_interpreter.cache_clear()


def program(path: Path, mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(mode)
    return str(path)


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment's prefix, with nothing in it, and a base with nothing in it."""
    for name in ("prefix", "exec_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path / "venv"))
    for name in ("base_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path / "base"))
    monkeypatch.setattr(sys, "_base_executable", None)
    return tmp_path / "venv"


def test_it_is_the_executable_where_that_is_a_python_of_this_environment() -> None:
    assert find_interpreter() == sys.executable


def test_where_a_server_embeds_python_it_is_the_environments_own(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", program(prefix / "bin" / "uwsgi"))
    expected = program(prefix / "bin" / "python3")
    assert find_interpreter() == expected


def test_the_environments_own_is_preferred_to_the_one_it_is_made_of(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(prefix.parent / "base" / "bin" / VERSION))
    expected = program(prefix / "bin" / VERSION)
    assert find_interpreter() == expected


def test_without_one_in_the_environment_it_is_the_one_that_is_made_of(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "uwsgi")
    program(prefix / "bin" / "python3", mode=0o644)  # cannot be run
    expected = program(prefix.parent / "base" / "bin" / VERSION)
    assert find_interpreter() == expected


@pytest.mark.parametrize("executable", ["", None, "uwsgi", "/usr/sbin/uwsgi", "python3"])
def test_what_is_no_python_or_no_path_is_never_taken(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    del prefix
    monkeypatch.setattr(sys, "executable", executable)
    assert find_interpreter() is None


def test_an_application_frozen_into_one_program_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert find_interpreter() is None
