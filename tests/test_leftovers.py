"""What keeps one test from being disturbed by what another one has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flusher.seen import ended
from tests.leftovers import Leftovers


def started(script: str, *arguments: object, env: dict[str, str] | None = None) -> int:
    """Return the process that a shell has started in the background and that is nobody's child."""
    command = ["/bin/sh", "-c", f"{script} >/dev/null & echo $!", *map(str, arguments)]
    return int(subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout)


@pytest.fixture
def one_of_before() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_all_that_a_test_has_started_ends_with_it_and_nothing_else(
    tmp_path: Path, one_of_before: subprocess.Popen[bytes]
) -> None:
    leftovers = Leftovers("the one that ends")
    orphan = started("sleep 1000")
    in_a_session_of_its_own = started("setsid sleep 1000")
    pause = f"{sys.executable} -c 'import signal; signal.pause()'"
    without_our_environment = started(f'{pause} "$0"', tmp_path / "queue", env={})
    of_another = started("sleep 1000", env={"TEST_THAT_STARTED_THIS": "another"})
    leftovers.end(tmp_path)
    assert ended(orphan)
    assert ended(in_a_session_of_its_own)
    assert ended(without_our_environment)
    assert not ended(of_another)
    assert one_of_before.poll() is None
    os.kill(of_another, signal.SIGKILL)
