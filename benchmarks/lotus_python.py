"""An environment for lotus-python 0.12, which needs pydantic 1 and so cannot share ours.

Made from PyPI when it is first needed and kept in a cache folder outside the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

_REQUIREMENTS = ("lotus-python==0.12.0", "pydantic<2")
_TIMEOUT = 300  # seconds


class Unavailable(Exception):
    """It cannot be made here; the message says why, in one line."""


def python_with_lotus(cache: Path | None = None) -> Path:
    """Return the interpreter of the environment, made if it is not there yet.

    Raises:
        Unavailable: it cannot be made: no network, no venv module, no space.
    """
    folder = (cache or _cache()) / f"lotus-python-0.12.0-py{sys.version_info.major}{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not python.exists():
        _make(folder)
    return python


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lotus_durable-benchmarks"


def _make(folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        venv.create(unfinished, with_pip=True, symlinks=True)
        command = [str(unfinished / "bin" / "python"), "-m", "pip", "install", "--quiet", *_REQUIREMENTS]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT)
        unfinished.rename(folder)  # only a whole one gets the name; python -m pip is not used in it again
    except subprocess.CalledProcessError as error:
        raise Unavailable(_last_line(error.stderr)) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "pip failed and did not say why"
