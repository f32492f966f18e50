"""What importing the package costs its users: nothing heavy, no file, no thread."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import Rig, rig, rigs  # noqa: F401  # fixtures

HEAVY = (
    "requests", "urllib3", "persistqueue", "sqlite3", "filelock", "http.server", "orjson", "asyncio",
    "subprocess", "multiprocessing", "http.client", "ssl",
)  # fmt: skip


def probe(code: str) -> dict[str, list[str]]:
    script = f"""
import json, os, sys, threading
before = set(os.listdir("/proc/self/fd"))
{code}
print(json.dumps({{
    "heavy": [name for name in {HEAVY} if name in sys.modules],
    "threads": [thread.name for thread in threading.enumerate()],
    "files": sorted(set(os.listdir("/proc/self/fd")) - before),
}}))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, list[str]] = json.loads(result.stdout)
    return found


def test_importing_loads_nothing_heavy_and_opens_nothing() -> None:
    assert probe("import lotus_durable") == {"heavy": [], "threads": ["MainThread"], "files": []}


@pytest.mark.parametrize("package", ["testing", "cli", "contrib"])
def test_the_packages_beside_the_client_load_nothing_heavy_either(package: str) -> None:
    found = probe(f"import lotus_durable; lotus_durable.Client; import lotus_durable.{package}")
    assert found == {"heavy": [], "threads": ["MainThread"], "files": []}


def test_who_looks_at_refused_events_imports_nothing_that_sends_and_no_filelock() -> None:
    """An application's admin pages are imported by every worker, and filelock alone may make its forks raise."""
    code = "import lotus_durable; [*lotus_durable.Client(queue_dir='/nonexistent').dead_letters()]"
    assert not {"requests", "urllib3", "filelock"} & set(probe(code)["heavy"])


def test_who_changes_refused_events_imports_nothing_that_sends() -> None:
    assert not {"requests", "urllib3"} & set(probe("import lotus_durable.operate.holding")["heavy"])


MODULES = {
    "__future__", "_blake2", "_collections", "_datetime", "_functools", "_operator", "_struct", "_thread", "_weakref",
    "_weakrefset", "_signal", "atexit", "collections", "collections.abc", "contextlib", "datetime", "errno", "fcntl",
    "functools", "itertools", "keyword", "math", "mmap", "operator", "pwd", "reprlib", "struct", "time", "types",
    "weakref", "zlib", "msgpack", "msgpack._cmsgpack", "msgpack.exceptions", "msgpack.ext", "cython_runtime",
    "_math_integer", "_types", "math.integer",
}  # fmt: skip
"""What a process that only tracks imports with us: every worker pays for each. See ``lotus_durable/values.py``."""

IN_TROUBLE = """
import sys
bare = set(sys.modules)
import lotus_durable as lotus
imported = set(sys.modules)

import errno, os
def refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")
def fail(error, events):
    raise KeyError(str(error))
lotus.api_key, lotus.host, lotus.queue_dir, lotus.on_error = "test-key", sys.argv[1], sys.argv[2], fail
lotus.track_event(customer_id="customer123", event_name="api_call", properties={"a": [1, {"b": 2.5, "c": {3, 4}}]})
lotus.track_event(customer_id="customer123", event_name="api_call", time_created="2024-02-19 10:11:12.5+01:00")
for wrong in ({"x": float("nan")}, {"x": object()}, {"x": 2**70}, 3):
    try:
        lotus.track_event(customer_id="customer123", event_name="api_call", properties=wrong)
    except lotus.InvalidEvent:
        pass
whole, os.pwrite = os.pwrite, refuse
lotus.track_event(customer_id="customer123", event_name="api_call")
os.pwrite, os.waitid = whole, None
lotus.settings.client()._tracker.look_now()
lotus.track_event(customer_id="customer123", event_name="api_call")
print(sorted(imported - bare), sorted(set(sys.modules) - imported), sep="\\n")
lotus.shutdown(0)
"""


def test_a_process_that_tracks_imports_a_short_list_and_nothing_later_also_in_trouble(rig: Rig) -> None:  # noqa: F811
    command = [sys.executable, "-c", IN_TROUBLE, rig.server.host, str(rig.queue_dir)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    imported, later = (set(ast.literal_eval(line)) for line in result.stdout.splitlines())
    ours = {name for name in imported if name.startswith(("lotus_durable", "_cython_"))}
    assert imported - ours <= MODULES
    assert later == set()
    # What logging would have said that nobody has configured.
    assert "takes no writes (ENOSPC: No space left on device)" in result.stderr
    assert "looking after the flusher failed: TypeError" in result.stderr
    assert "on_error itself failed\nTraceback (most recent call last):\n" in result.stderr
    assert "KeyError: " in result.stderr


@pytest.mark.parametrize("flusher", ["auto", "external"])
def test_a_program_that_has_assigned_a_setting_imports_nothing_in_its_first_request(
    rig: Rig,  # noqa: F811
    flusher: str,
) -> None:
    """Not even where that request starts the flusher: an import may be cut by a fork."""
    script = """
import sys, threading
import lotus_durable as lotus
lotus.api_key, lotus.host, lotus.queue_dir, lotus.flusher = sys.argv[1:]
before = set(sys.modules)
for number in range(3):
    lotus.track_event(customer_id="customer123", event_name="api_call")
print(sorted(set(sys.modules) - before), threading.active_count())
lotus.shutdown(0)
"""
    command = [sys.executable, "-c", script, "test-key", rig.server.host, str(rig.queue_dir), flusher]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "[] 1\n"
    assert Path(rig.directory.log).exists() is (flusher == "auto")
