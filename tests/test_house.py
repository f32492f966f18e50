"""The house: how large its files are. Which may import which is import-linter's to say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lotus_durable

PACKAGE = Path(lotus_durable.__path__[0])
MOST_LINES = 300
LONG = [path for path in sorted(PACKAGE.rglob("*.py")) if len(path.read_text().splitlines()) > MOST_LINES]


@pytest.mark.parametrize("path", LONG, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_over_300_lines_says_why_it_is_one(path: Path) -> None:
    assert "It is one file" in (ast.get_docstring(ast.parse(path.read_text())) or "")
