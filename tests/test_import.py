"""What importing the package costs its users: nothing heavy, no file, no thread."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("requests", "urllib3", "persistqueue", "sqlite3", "rich", "filelock", "http.server", "orjson", "asyncio")


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


def test_a_program_that_has_assigned_a_setting_imports_nothing_in_its_first_request(tmp_path: Path) -> None:
    script = """
import sys
import lotus_durable as lotus
lotus.flusher = "external"
lotus.queue_dir = sys.argv[1]
before = set(sys.modules)
lotus.track_event(customer_id="customer123", event_name="api_call")
print(sorted(name for name in set(sys.modules) - before if name.startswith(("lotus_durable", "filelock", "msgpack"))))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "queue")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "[]\n"
