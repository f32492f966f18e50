"""Says in one sentence where this package does not run; the first thing that it imports."""

from __future__ import annotations

import os

if os.name != "posix":
    raise ImportError(
        "lotus_durable runs on Linux and macOS: it needs fork-safe files and flock; on Windows run your program in WSL"
    )
