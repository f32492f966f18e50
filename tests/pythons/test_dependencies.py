"""``tests/minimum.txt``, which ``tox -e minimum`` installs, has what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib

from tests.flusher.scene import ROOT


def test_the_oldest_releases_that_are_tested_are_the_oldest_that_are_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    oldest = {re.sub(r">=([\d.]+).*", r"==\1", each) for each in allowed}
    tested = {line for line in (ROOT / "tests" / "minimum.txt").read_text().splitlines() if not line.startswith("#")}
    assert {_padded(each) for each in oldest} == tested


def _padded(requirement: str) -> str:
    """Return ``name==1.1`` as ``name==1.1.0``, as a release is called."""
    return requirement if requirement.count(".") == 2 else f"{requirement}.0"
