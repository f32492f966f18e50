"""What would be uploaded to PyPI: built from the tree, and read as a user meets it."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(built.glob("*.whl")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [each for each in wheel.namelist() if each.endswith("METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_pypi_would_take_both_files(built: Path) -> None:
    files = [str(each) for each in sorted(built.iterdir())]
    assert len(files) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout


def test_the_readmes_links_lead_somewhere_on_pypi_too(metadata: Message) -> None:
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    targets = re.findall(r"\]\(([^)\s]+)\)", payload.decode())
    assert len(targets) > 20
    assert [each for each in targets if not each.startswith(("https://", "#"))] == []


def test_the_projects_pages_begin_with_its_source(metadata: Message) -> None:
    urls = dict(each.split(", ") for each in metadata.get_all("Project-URL", []))
    assert {"Source", "Documentation", "Changelog", "Issues"} <= set(urls)
    assert all(each.startswith(urls["Source"]) for each in urls.values())


def test_the_wheel_has_the_package_its_types_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {each.partition("/")[0] for each in wheel.namelist()}
    assert {each for each in tops if not each.endswith(".dist-info")} == {"lotus_durable"}
    pages = "lotus_durable/contrib/django"
    beside = {
        f"{pages}/templates/lotus_durable/health.html", f"{pages}/static/lotus_durable/queue.css",
        f"{pages}/static/lotus_durable/queue.js", "lotus_durable/py.typed",
    }  # fmt: skip
    assert beside <= set(wheel.namelist())


def test_the_source_can_be_tested_as_it_is_unpacked(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        inside = {each.partition("/")[2] for each in source.getnames()}
    assert {"README.md", "CHANGELOG.md", "tox.ini", ".ci/run", "tests/rig.py", "docs/architecture.md"} <= inside
    assert not [each for each in inside if "__pycache__" in each or each.startswith((".venv", ".tox"))]


def test_what_git_ignores_takes_nothing_out_of_the_source_although_a_link_in_it_leads_back_into_the_tree(
    tmp_path: Path,
) -> None:
    """A whole system does, in a folder of the tree; what was seen there is not looked at where it really lies."""
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "rig.py").touch()
    (tmp_path / ".sid").mkdir()
    (tmp_path / ".sid" / "again").symlink_to(tmp_path / "tests")
    found = {each.distribution_path for each in SdistBuilder(str(tmp_path)).recurse_included_files()}
    assert "tests/rig.py" in found
