"""A command on a real terminal: what tmux shows of it is what a person sees."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
_PATIENCE = 30.0


class Terminal:
    """A tmux of its own, with one window."""

    def __init__(self, folder: Path, environment: Mapping[str, str], width: int = 120, height: int = 40) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._environment = {name: value for name, value in environment.items() if not name.startswith("TMUX")}
        self._environment |= {"TERM": "xterm-256color", "PS1": "$ ", "LESS": "-R", "SHELL": "/bin/sh"}
        size = ["-x", str(width), "-y", str(height)]
        self._run("new-session", "-d", *size, "/bin/sh")
        self.wait_for("$")

    def type(self, *words: str, enter: bool = True) -> None:
        """Type a command line."""
        self._run("send-keys", "-l", shlex.join(words))
        if enter:
            self.press("Enter")

    def press(self, key: str) -> None:
        """Press a key, by tmux' name: C-c, C-z, Enter."""
        self._run("send-keys", key)

    def enter(self, line: str) -> None:
        """Type a line as it is, for the shell to read."""
        self._run("send-keys", "-l", line)
        self.press("Enter")

    def screen(self) -> str:
        """Return what is to be seen."""
        return self._run("capture-pane", "-p", "-J")

    def wait_for(self, text: str) -> str:
        """Return what is to be seen as soon as the text is."""
        deadline = time.monotonic() + _PATIENCE
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, f"waited {_PATIENCE:g} s for {text!r}; the screen is\n{screen}"
            time.sleep(0.02)
        return screen

    def close(self) -> None:
        self._run("kill-server", check=False)

    def _run(self, *words: str, check: bool = True) -> str:
        result = subprocess.run(
            [*self._tmux, *words], env=self._environment, capture_output=True, text=True, check=check, timeout=_PATIENCE
        )
        return result.stdout
