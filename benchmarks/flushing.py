"""The external flusher, ``lotus-durable flusher``, in a process of its own, and what it costs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.server import Server
from benchmarks.surroundings import API_KEY, environment, only_benchmarks
from benchmarks.watched import Watched

LIBRARIES = (
    "import msgpack, requests, filelock, persistqueue, sqlite3, importlib.util; "
    "importlib.util.find_spec('orjson') and __import__('orjson')"
)
"""What any flusher has to load, and what it loads where it is installed."""

_WITHOUT_ORJSON = "import sys; sys.modules['orjson'] = None; "
_RUN = "from lotus_durable.cli import main; raise SystemExit(main())"
_STOP_TIMEOUT = 30  # seconds


@contextmanager
def flushing(
    queue_dir: Path,
    server: Server,
    *,
    orjson: bool = True,
    options: dict[str, str] | None = None,
    python: Path | None = None,
) -> Iterator[Watched]:
    """Start a flusher for ``queue_dir``; stop it afterwards.

    Args:
        queue_dir: the queue.
        server: where to.
        orjson: False: as if it were not installed.
        options: more ``LOTUS_`` variables.
        python: of an environment with another build, whose flusher it is then.
    """
    code = _RUN if orjson else _WITHOUT_ORJSON + _RUN
    command = [str(python or sys.executable), "-c", code, "flusher", "--queue-dir", str(queue_dir)]
    variables = environment(LOTUS_API_KEY=API_KEY, LOTUS_HOST=server.url, **(options or {}))
    if python is not None:
        variables["PYTHONPATH"] = str(only_benchmarks())
    with subprocess.Popen(command, env=variables, cwd=only_benchmarks(), stderr=subprocess.DEVNULL) as process:
        try:
            yield Watched(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
