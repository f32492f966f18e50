"""How the modules of FakeLotus know each other."""

from __future__ import annotations

import ast
from pathlib import Path

from lotus_durable import testing

ROOT = Path(testing.__file__).parent
NAME = testing.__name__


def imports() -> dict[str, set[str]]:
    """Return for each module those beside it that it imports, for types only too."""
    paths = {".".join([NAME, *path.relative_to(ROOT).with_suffix("").parts]): path for path in ROOT.rglob("*.py")}
    return {
        module: {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
            if name in paths
        }
        for module, path in paths.items()
    }


def test_no_module_imports_itself_by_way_of_others() -> None:
    left = imports()
    while free := {module for module, imported in left.items() if not imported & left.keys()}:
        left = {module: imported for module, imported in left.items() if module not in free}
    assert left == {}


def test_no_file_is_long() -> None:
    assert [path for path in ROOT.rglob("*.py") if len(path.read_text().splitlines()) > 300] == []
