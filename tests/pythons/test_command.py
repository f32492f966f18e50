"""The command that runs the tests on every Python: it finds what is installed, and says what tox ran."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from . import __main__ as command

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def put(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_it_finds_programs_in_the_path_and_in_pyenv_s_folder_and_passes_shims_that_run_nothing(tmp_path: Path) -> None:
    shim = put(tmp_path / "shims" / f"python{VERSION}", "echo 'command not found' >&2; exit 127")
    other = put(tmp_path / "other" / f"python{VERSION}", "echo 3 2 cpython 0")
    aside = tmp_path / "pyenv" / "versions" / f"{VERSION}.1" / "bin" / f"python{VERSION}"
    found = put(aside, f'exec {sys.executable} "$@"')
    environ = {"PATH": f"{shim.parent}:{other.parent}", "PYENV_ROOT": str(tmp_path / "pyenv")}
    assert command.installed([VERSION, "3.99"], environ) == {VERSION: str(found)}
    assert command.installed([VERSION], {**environ, "PATH": str(found.parent)}) == {VERSION: str(found)}


def test_the_package_names_the_python_that_runs_this() -> None:
    assert VERSION in command.supported()


@pytest.mark.parametrize(
    ("skipped", "program", "is_run"), [(False, "pytest", True), (True, "pytest", False), (False, "ruff", False)]
)
def test_only_an_environment_whose_tests_were_begun_counts_as_run(skipped: bool, program: str, is_run: bool) -> None:
    environment = {
        "python": {"version_info": [3, 12, 1, "final", 0]},
        "result": {"skipped": skipped},
        "test": [{"command": [f"/somewhere/bin/{program}", "-q"]}],
    }
    told = command.versions_run({"one": environment, "two": {"result": {"skipped": True}}})
    assert told == ({"3.12.1": ["one"]} if is_run else {})


def test_it_fails_when_tox_has_left_out_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = {
        "servers": {
            "python": {"version_info": [*sys.version_info]},
            "result": {"skipped": False},
            "test": [{"command": ["/somewhere/bin/pytest"]}],
        }
    }
    pythons = {VERSION: sys.executable}
    monkeypatch.setattr(sys, "argv", ["tests.pythons"])
    monkeypatch.setattr(command, "installed", lambda *_: pythons)
    monkeypatch.setattr(command, "run", lambda *_: (True, ran))
    monkeypatch.setattr(command, "run_sid", lambda environment: (True, environment))
    command.main()
    assert f"Python {VERSION}.{sys.version_info.micro}: servers" in capsys.readouterr().out
    pythons["3.99"] = "/somewhere/bin/python3.99"
    with pytest.raises(SystemExit, match=r"installed, and not run: 3\.99"):
        command.main()


def test_the_tests_that_an_environment_names_are_there() -> None:
    """One that is not would have all of them left out."""
    named = re.findall(r"\btests/[\w/.]+", (command.ROOT / "tox.ini").read_text())
    assert len(named) > 30
    assert [each for each in named if not (command.ROOT / each).exists()] == []
