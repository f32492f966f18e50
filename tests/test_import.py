"""What importing the package costs its users: nothing heavy, no file, no thread."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import Rig, rig, rigs  # noqa: F401  # fixtures

HEAVY = (
    "requests", "urllib3", "persistqueue", "sqlite3", "rich", "filelock", "http.server", "orjson", "asyncio",
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


def test_the_client_and_the_testing_package_load_nothing_heavy_either() -> None:
    found = probe("import lotus_durable; lotus_durable.Client; import lotus_durable.testing")
    assert found == {"heavy": [], "threads": ["MainThread"], "files": []}


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
