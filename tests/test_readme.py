"""The README is run as written: its examples, its options, its test command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lotus_durable.config import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from lotus_durable.testing import FakeLotus

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
CONSOLE = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)


def options_table() -> str:
    rows = [f"| `{name}` | {f'`{default}`' if default else ''} | {about} |" for name, default, about in describe()]
    return "\n".join(["| option | default | what it is |", "| --- | --- | --- |", *rows])


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_of_the_readme_runs_as_written(
    example: str, tmp_path: Path, fake_lotus_factory: Callable[..., FakeLotus]
) -> None:
    server = fake_lotus_factory("L24", api_key="YOUR API KEY")
    environment = {
        "LOTUS_HOST": server.host,
        "LOTUS_QUEUE_DIR": str(tmp_path / "queue"),
        "LOTUS_API_KEY": "YOUR API KEY",
    }
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "on disk" not in result.stdout


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 5
    assert len(CONSOLE) >= 3


def test_the_options_table_is_what_the_configuration_says() -> None:
    shown = README.partition("<!-- options -->\n")[2].partition("\n<!-- /options -->")[0]
    assert shown == options_table()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert CONSOLE[-1].strip() in (ROOT / ".ci" / "run").read_text()


def test_the_changelog_knows_this_version() -> None:
    from lotus_durable import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
