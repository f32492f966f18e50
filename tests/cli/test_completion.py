"""Completion in a shell: made by shtab of the argument parser, as docs/operations.md says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.fixture(scope="module")
def script() -> str:
    [arguments] = re.findall(r"^shtab (.*) >", PAGE, flags=re.MULTILINE)
    return subprocess.run(
        [sys.executable, "-m", "shtab", *arguments.split()], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [(["st"], {"status", "stop"}), (["drain", "--ti"], {"--timeout"}), (["dead-letters", "re"], {"retry"})],
)
def test_bash_completes_commands_and_options(script: str, words: list[str], completed: set[str]) -> None:
    line = ["lotus-durable", *words]
    asked = f"COMP_WORDS=({' '.join(line)}); COMP_CWORD={len(words)}; _shtab_lotus_durable; echo ${{COMPREPLY[@]}}"
    shown = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert set(shown.split()) == completed
