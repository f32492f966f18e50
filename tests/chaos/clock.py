"""The wall clock of the processes of a run, which can be set; built of ``clock.c`` where there is a C compiler."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """What the processes under test see; the harness and the server have the machine's.

    Attributes:
        can_be_set: there is a compiler, and what it made can be loaded.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._file = folder / "ahead"
        self._library = folder / "clock.so"
        self.set(0)
        compiler = shutil.which("cc")
        command = [compiler or "cc", "-shared", "-fPIC", "-O1", "-o", os.fspath(self._library), os.fspath(_SOURCE)]
        self.can_be_set = (
            compiler is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
        )

    def environment(self) -> dict[str, str]:
        """Of the processes."""
        if not self.can_be_set:
            return {}
        return {"LD_PRELOAD": os.fspath(self._library), "CHAOS_CLOCK": os.fspath(self._file)}

    def set(self, seconds: int) -> None:
        """Have it be ahead of the machine's, for all at once."""
        mode = "r+b" if self._file.exists() else "wb"  # in place: it is mapped
        with self._file.open(mode) as file:
            file.write(struct.pack("<q", seconds))
