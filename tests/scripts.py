"""Running a piece of code in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent

_PRELUDE = """
import ctypes, os, signal, sys, threading, time
from pathlib import Path

if {no_hooks}:
    os.register_at_fork = lambda **hooks: None

from lotus_durable.client import Client
from lotus_durable.config import Config, Constants
queue_dir, host = Path(sys.argv[1]), sys.argv[2]
QUICK = Constants(
    first_pause=0.01, longest_pause=0.05, grace=0.05, probe_interval=0.05, idle_before_end=5.0, trusted_look=0.1,
    leaving_wait=0.15,
)

def make(**options):
    constants = {name: options.pop(name) for name in Constants._fields if name in options}
    settings = dict(api_key="test-key", host=host, queue_dir=queue_dir, flush_interval=0.02, flusher="external")
    config = Config.resolve({**settings, **options})
    return Client.from_config(config._replace(constants=QUICK._replace(**constants)))

def track(client, count=1, **fields):
    return [client.track_event(**{"customer_id": "c", "event_name": "x", **fields}) for _ in range(count)]

def allow_forks_beside_threads():
    # With -W error, 3.15 raises in the parent of a fork beside a thread, here one of the application's own.
    import warnings
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def wait_until(condition, timeout=20):
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)
    return result

def fork_in_c():
    return ctypes.PyDLL(None).fork()

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def command(code: str, *arguments: object, no_hooks: bool = False) -> list[str]:
    """Return a command that runs ``code`` with ``make``, ``track``, ``say`` and more at hand.

    Args:
        code: what to run.
        arguments: the queue directory, the server's URL, and whatever ``code`` looks at.
        no_hooks: no module that the library brings, nor the library, has fork hooks; Python itself has.
    """
    prelude = _PRELUDE.replace("{no_hooks}", str(no_hooks))
    return [sys.executable, "-W", "error", "-c", prelude + textwrap.dedent(code), *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")}
    return {**inherited, "PYTHONPATH": str(ROOT), **more}


def run(
    code: str, *arguments: object, timeout: float = 60, no_hooks: bool = False, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; its exit code is the caller's to look at."""
    return subprocess.run(
        command(code, *arguments, no_hooks=no_hooks),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment(**more),
        cwd="/",
    )


def lines(code: str, *arguments: object, timeout: float = 60, no_hooks: bool = False, **more: str) -> list[str]:
    """Run it to its good end and return what it said."""
    result = run(code, *arguments, timeout=timeout, no_hooks=no_hooks, **more)
    assert result.returncode == 0, result.stderr + result.stdout
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout.splitlines()
