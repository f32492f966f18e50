"""The first import of the package: on a system where it does not run, this says so in one sentence."""

from __future__ import annotations

import os

if os.name != "posix":
    raise ImportError(
        "lotus_durable runs on Linux and macOS: it needs fork-safe files and flock; on Windows run your program in WSL"
    )
