"""An application with packages of its own: a folder of site-packages that a test may break, replace or remove."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from .scene import ROOT

PACKAGES = (
    "lotus_durable", "msgpack", "filelock", "persistqueue",
    "requests", "urllib3", "certifi", "charset_normalizer", "idna",
)  # fmt: skip


class Deployment:
    """Copies of all that a flusher imports, run by the Python that this one is made of.

    Args:
        folder: of it; made.
    """

    def __init__(self, folder: Path) -> None:
        self.site = folder / "lib" / "site-packages"
        self.site.mkdir(parents=True)
        self.python = str(getattr(sys, "_base_executable", None) or sys.executable)
        for name in PACKAGES:
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.submodule_search_locations is not None, f"{name} is a package"
            shutil.copytree(
                spec.submodule_search_locations[0], self.site / name, ignore=shutil.ignore_patterns("__pycache__")
            )

    @property
    def paths(self) -> str:
        """Where an application of this deployment looks for modules, as PYTHONPATH has it."""
        return f"{self.site}:{ROOT}"

    def break_module(self, name: str) -> None:
        """Have the import of a package fail as if it were not installed."""
        shutil.rmtree(self.site / name)
        (self.site / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\")\n")
