"""What a scenario is given: how much to do, where, and which subjects can run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.load import Specification
from benchmarks.loading import THIS_PYTHON, Loaded, load
from benchmarks.lotus_python import Unavailable, python_with_lotus
from benchmarks.scale import Scale
from benchmarks.server import Server
from benchmarks.subjects import Subject
from benchmarks.surroundings import scratch


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmarks."""

    scale: Scale
    root: Path
    """Folders are made in it, and removed: the file system that is measured."""
    rivals: bool = True
    """Run other people's clients too."""
    beside: Path | None = None
    """The interpreter of an environment with another build of lotus_durable."""
    _pythons: dict[str, Path | str] = field(default_factory=dict)
    """For each environment its interpreter, or why there is none."""

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Make a folder for a while."""
        with scratch(self.root) as made:
            yield made

    def available(self, subjects: Sequence[Subject]) -> tuple[list[Subject], list[str]]:
        """Return those that can run here, and for each other one line that says why not."""
        able, notes = [], []
        for subject in subjects:
            reason = self._why_not(subject)
            if reason is None:
                able.append(subject)
            else:
                notes.append(f"skipped {subject.label}: {reason}")
        return able, notes

    def load_once(
        self,
        subject: Subject,
        server: Server,
        folder: Path,
        *,
        processes: int = 1,
        once_ready: Callable[[], object] = lambda: None,
        **load_options: object,
    ) -> Loaded:
        """Load one subject in ``folder`` from some processes; the options are those of a :class:`Specification`."""
        specifications = [
            Specification(
                opener=subject.opener,
                options=subject.options,
                server=server.url,
                directory=str(folder),
                samples=str(folder / f"calls-{number}"),
                **load_options,  # type: ignore[arg-type]  # their names are checked by the dataclass
            )
            for number in range(processes)
        ]
        return load(specifications, python=self.python(subject), once_ready=once_ready)

    def python(self, subject: Subject) -> Path:
        """Return the interpreter that runs a subject that is available."""
        if subject.environment == "beside":
            assert self.beside is not None
            return self.beside
        found = self._pythons.get(subject.environment, THIS_PYTHON)
        assert isinstance(found, Path)
        return found

    def _why_not(self, subject: Subject) -> str | None:
        if subject.opener.startswith("benchmarks.subjects.rivals:") and not self.rivals:
            return "rivals are not asked for"
        if subject.environment == "lotus-python":
            found = self._pythons.get(subject.environment)
            if found is None:
                found = self._pythons[subject.environment] = _lotus_python()
            return found if isinstance(found, str) else None
        if subject.environment == "beside" and self.beside is None:
            return "no environment with another build is named (--beside)"
        if subject.needs is not None and not _is_installed(subject.needs):
            return f"{subject.needs} is not installed (pip install --group bench)"
        return None


def _lotus_python() -> Path | str:
    try:
        return python_with_lotus()
    except Unavailable as reason:
        return f"its environment could not be made: {reason}"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package
        return False
