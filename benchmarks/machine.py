"""What the figures were measured on: they mean little without it."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "lotus-durable", "msgpack", "orjson", "requests", "urllib3", "filelock", "persist-queue", "litequeue", "posthog",
    "segment-analytics-python", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "hdrhistogram",
)  # fmt: skip


def describe(directory: Path) -> dict[str, object]:
    """Return the machine, the file system of ``directory``, and the versions of what is measured, as JSON values."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "file_system": _file_system(directory),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "commit": _commit(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    asked = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(directory)], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def _commit() -> str | None:
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return git.stdout.strip() or None
