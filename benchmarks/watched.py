"""Memory and processor time of a process, as the kernel counts them."""

from __future__ import annotations

import os
from pathlib import Path


class Watched:
    """Looks at a process from outside, or at this one."""

    def __init__(self, pid: int | None = None) -> None:
        self._proc = Path(f"/proc/{pid or os.getpid()}")

    def memory(self) -> float:
        """Return its resident memory, in MB."""
        return self._number("status", "VmRSS") / 1024

    def peak_memory(self) -> float:
        """Return the most resident memory it has had so far, in MB."""
        return self._number("status", "VmHWM") / 1024

    def share(self) -> float:
        """Return its memory in MB, of pages that several processes use its share (PSS)."""
        return self._number("smaps_rollup", "Pss") / 1024

    def cpu(self) -> float:
        """Return the seconds of processor time it has used."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_exactly(self) -> float:
        """Return the same of all its threads that live, to the nanosecond."""
        return sum(int(task.read_text().split()[0]) for task in self._proc.glob("task/*/schedstat")) / 1e9

    def cpu_of_main_thread(self) -> float:
        """Return the seconds of processor time that its first thread has used."""
        return int((self._proc / "task" / self._proc.name / "schedstat").read_text().split()[0]) / 1e9

    def written(self) -> int:
        """Return the bytes it has handed to the kernel, to files and connections."""
        return self._number("io", "wchar")

    def _number(self, file: str, name: str) -> int:
        for line in (self._proc / file).read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0])
        raise LookupError(f"no {name} in {self._proc / file}")
