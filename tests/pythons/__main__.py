"""Run the tests on every Python that is installed here, and fail when one of them was not run.

``python -m tests.pythons`` runs, after ``tox``, all servers, the oldest dependencies, types, and on the other Pythons
what differs on them. ``python -m tests.pythons whole`` runs the whole suite on each.

It needs tox. It finds the interpreters itself, in PATH and in pyenv's folder, and compares them with what tox says that
it ran: none is left out because tox did not find it. Debian sid's Pythons are put into a folder (``sid.sh``).

Most tests wait, so two environments are run at a time, and sid's beside them; what each has said is shown at its end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SID = Path(__file__).parent / "sid.sh"
SUITE_PYTHON = "3.11"
"""On which ``tox`` runs the default suite, and this command the rest of it."""
SID_PYTHON = "3.15"
"""The newest that sid has: what CI runs of it."""
NOT_TO_BE_HAD = 77
"""The exit status with which ``sid.sh`` says that there is no sid here, and why."""
AT_ONCE = 2
"""Environments that are run at a time."""
_ASK = """
import sys, sysconfig
print(*sys.version_info[:2], sys.implementation.name, sysconfig.get_config_var("Py_GIL_DISABLED") or 0)
"""


def supported() -> list[str]:
    """Return the versions of Python that the package says it is for: ``3.11`` and so on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = (each.removeprefix("Programming Language :: Python :: ") for each in project["classifiers"])
    return [each for each in words if each.startswith("3.")]


def installed(versions: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the programs of these versions that can be run, by version: in PATH, and what pyenv has put aside."""
    pyenv = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/")) / ".pyenv")
    folders = [Path(each) for each in environ.get("PATH", "").split(os.pathsep) if each]
    found = {}
    for version in versions:
        aside = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        for path in [*(folder / f"python{version}" for folder in folders), *aside]:
            if path.is_file() and is_python(path, version):
                found[version] = str(path)
                break
    return found


def is_python(path: Path, version: str) -> bool:
    """Whether this program is a CPython of this version, with a GIL; a shim of pyenv may be for none."""
    answer = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, check=False)
    return answer.stdout.split() == [*version.split("."), "cpython", "0"]


def run(environments: list[str], programs: Iterable[str]) -> tuple[bool, dict[str, Any]]:
    """Run these of tox; return whether all is well, and what it says of each."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [
            sys.executable, "-m", "tox", "run-parallel", "--parallel", str(AT_ONCE), "--parallel-no-spinner",
            "--skip-missing-interpreters", "false", "--result-json", str(result),
            "-e", ",".join(environments), "--discover", *programs,
        ]  # fmt: skip
        is_well = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
        ran: dict[str, Any] = json.loads(result.read_text())["testenvs"] if result.exists() else {}
    return is_well, ran


def versions_run(ran: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the versions of Python whose tests were run to their end, and in which environments."""
    found: dict[str, list[str]] = {}
    for name, environment in ran.items():
        tested = any("pytest" in Path(test["command"][0]).name for test in environment.get("test", ()))
        if tested and not environment["result"]["skipped"]:
            major, minor, patch, *_ = environment["python"]["version_info"]
            found.setdefault(f"{major}.{minor}.{patch}", []).append(name)
    return found


def run_sid(environment: str) -> tuple[bool, str]:
    """Run an environment in Debian sid; return whether all is well, and what became of it."""
    done = subprocess.run(
        [SID, ROOT / ".sid", "-e", environment],
        check=False, text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    sys.stdout.write(done.stdout)
    if done.returncode == NOT_TO_BE_HAD:
        return True, "skipped: Debian sid cannot be had here, see above"
    return done.returncode == 0, environment if done.returncode == 0 else f"{environment} failed"


def main() -> None:
    """Run it, and say which Pythons ran what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["ci", "whole"], default="ci")
    what = parser.parse_args().what
    pythons = installed(supported(), os.environ)
    if what == "whole":
        environments = [f"py{digits(each)}" for each in pythons]
    else:
        others = [f"processes-py{digits(each)}" for each in pythons if each != SUITE_PYTHON]
        environments = [*others, "minimum", "servers", "types"]  # what takes longest first
    with ThreadPoolExecutor() as beside:
        is_sid_run = what == "ci" and SID_PYTHON not in pythons
        sid = beside.submit(run_sid, f"processes-py{digits(SID_PYTHON)}") if is_sid_run else None
        is_well, ran = run(environments, pythons.values())
    told = [f"Python {version}: {', '.join(names)}" for version, names in versions_run(ran).items()]
    left_out = set(pythons) - {version.rpartition(".")[0] for version in versions_run(ran)}
    if sid is not None:
        is_sid_well, became = sid.result()
        is_well &= is_sid_well
        told.append(f"Python {SID_PYTHON}: {became}")
    if left_out or not is_well:
        raise SystemExit(
            "\n".join([*told, f"installed, and not run: {', '.join(sorted(left_out)) or 'none'}", "failed"])
        )
    sys.stdout.write("\n".join(["What ran", *told, ""]))


def digits(version: str) -> str:
    """Return ``311`` for ``3.11``."""
    return version.replace(".", "")


if __name__ == "__main__":
    main()
