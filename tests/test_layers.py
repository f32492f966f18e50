"""Which package may import which: the folder names tell where an event is, and the imports must not contradict them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lotus_durable

ROOT = Path(lotus_durable.__file__).parent
PACKAGE = ROOT.name

FORBIDDEN = {
    "queue": ("delivery", "flusher", "client", "settings", "tracker", "calls", "cli", "contrib", "testing"),
    "delivery": ("client", "settings", "tracker", "calls", "cli", "contrib", "testing"),
    "flusher": ("client", "settings", "calls", "cli", "contrib", "testing"),
    "http": ("queue", "delivery", "client", "settings", "tracker", "calls", "cli", "contrib", "testing"),
    "calls": ("client", "tracker", "cli", "contrib", "testing"),
    "testing": ("client", "queue", "delivery", "calls", "http", "cli"),
}
"""For each package the modules beside it that it must not know."""


def imported_modules(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Return the absolute names of what ``module`` imports, wherever in it; names imported from a module count too."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *(node.module.split(".") if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def violations(folder: str) -> list[str]:
    forbidden = tuple(f"{PACKAGE}.{name}" for name in FORBIDDEN[folder])
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        found += [
            f"{module} imports {name}"
            for name in sorted(imported_modules(path.read_text(), module, is_package=is_package))
            if name in forbidden or name.startswith(tuple(f"{each}." for each in forbidden))
        ]
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_package_imports_what_lies_above_it(folder: str) -> None:
    assert any((ROOT / folder).rglob("*.py"))
    assert violations(folder) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import lotus_durable.client", "lotus_durable.client"),
        ("import lotus_durable.client as c", "lotus_durable.client"),
        ("from lotus_durable.client import Client", "lotus_durable.client"),
        ("from lotus_durable import client", "lotus_durable.client"),
        ("from .. import client", "lotus_durable.client"),
        ("from ..client import Client", "lotus_durable.client"),
        ("from ..delivery import loop", "lotus_durable.delivery.loop"),
        ("def f():\n    from ..client import Client", "lotus_durable.client"),
        ("if TYPE_CHECKING:\n    from ..client import Client", "lotus_durable.client"),
        ("from . import reader", "lotus_durable.queue.reader"),
        ("from .reader import glance", "lotus_durable.queue.reader"),
    ],
)
def test_every_way_to_import_is_seen(source: str, expected: str) -> None:
    assert expected in imported_modules(source, "lotus_durable.queue.journal")


def test_relative_imports_of_a_package_start_at_itself() -> None:
    assert "lotus_durable.queue.reader" in imported_modules(
        "from . import reader", "lotus_durable.queue", is_package=True
    )
