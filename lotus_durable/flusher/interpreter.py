"""Which program is this Python? Not always ``sys.executable``: that is uWSGI, say, where Python is embedded."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator

from lotus_durable.disk import is_file


@functools.cache
def find_interpreter() -> str | None:
    """Return the path of an interpreter that runs what this process runs; None where there is none to be found.

    It has the version of this one, so that compiled modules fit; where it finds modules is no matter, it is told.
    """
    if getattr(sys, "frozen", False):
        return None  # one program with all in it: its executable would start the application again
    return next((path for path in _candidates() if _is_program(path)), None)


def _candidates() -> Iterator[str]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    executable = sys.executable or ""
    if _is_python(executable) and executable.startswith(f"{sys.prefix}{os.sep}"):
        yield executable
    # A virtual environment's own, for the sake of what its .pth files do.
    for prefix in (sys.prefix, sys.exec_prefix):
        for name in (version, "python3", "python") if prefix != sys.base_prefix else (version,):
            yield os.path.join(prefix, "bin", name)
    base: str | None = getattr(sys, "_base_executable", None)
    for path in (executable, base or ""):
        if _is_python(path):
            yield path
    yield os.path.join(sys.base_exec_prefix, "bin", version)


def _is_python(path: str) -> bool:
    """Whether a file is named as an interpreter is: python, python3, python3.13t."""
    name = os.path.basename(path)
    return name.startswith("python") and not name.removeprefix("python").removesuffix("t").strip("0123456789.")


def may_run(path: str) -> bool:
    """Whether the user that this process acts as may run a program; not the one that it was started by."""
    return os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _is_program(path: str) -> bool:
    return os.path.isabs(path) and is_file(path) and may_run(path)
