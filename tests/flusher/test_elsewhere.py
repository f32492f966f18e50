"""Where the system lacks what Linux has: it works all the same, or says in one sentence that it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .scene import Scene

AS_ON_MACOS = """
import errno, fcntl, mmap, os, signal, time
for module, names in (
    (os, ("fdatasync", "posix_fallocate", "pidfd_open", "waitid")),
    (fcntl, ("F_OFD_GETLK", "F_OFD_SETLK", "F_OFD_SETLKW")),
    (time, ("CLOCK_BOOTTIME",)),
    (signal, ("pidfd_send_signal",)),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
from tests.flusher.app import *
"""


@pytest.mark.parametrize("durability", ["process", "power"])
def test_without_what_only_linux_has_events_are_kept_and_a_drain_here_delivers_them(
    scene: Scene, durability: str
) -> None:
    code = f"""
client = make(flusher="external", durability={durability!r})
track(client, "one", "two")
report = client.drain(20)
assert report.complete, report
track(client, "three")
assert client.drain(20).complete
"""
    scene.finish([sys.executable, "-W", "error", "-c", AS_ON_MACOS + code])
    scene.arrived("one", "two", "three")


def test_without_what_only_linux_has_a_flusher_is_started_once_and_seen(scene: Scene) -> None:
    code = """
client = make()
track(client, "one")
wait_until(lambda: client._tracker.look.somebody_flushes() is not False)
for number in range(50):
    track(client, f"event{number}")
    client._tracker.look_now()
os._exit(0)
"""
    scene.finish([sys.executable, "-W", "error", "-c", AS_ON_MACOS + code])
    scene.arrived("one", *(f"event{number}" for number in range(50)))
    assert scene.starts() == 1


@pytest.mark.parametrize("locale", ["", "ISO-8859-1"])
def test_a_queue_whose_name_is_no_utf_8_is_flushed_and_what_its_flusher_says_of_it_is_told(
    scene: Scene, locale: str
) -> None:
    """An application's locale decides which text such a name is; a flusher's text is UTF-8."""
    environment: dict[str, Any] = {}
    if locale:
        made, localedef = scene.root / f"fr_FR.{locale}", shutil.which("localedef")
        if (
            not localedef
            or subprocess.run([localedef, "-c", "-f", locale, "-i", "fr_FR", made], check=False).returncode
        ):
            pytest.skip("that locale cannot be made here")
        environment = {"LOCPATH": str(scene.root), "LC_ALL": made.name, "PYTHONUTF8": "0"}
    scene.queue_dir = Path(os.fsdecode(os.fsencode(scene.root) + b"/caf\xe9"))
    code = """
    told = []
    os.makedirs(QUEUE_DIR / "books.db" / "no file")
    client = make(on_error=lambda error, events: told.append(str(error)))
    track(client, "one")
    wait_until(lambda: client._tracker.look_now() or told)
    say(os.fsencode(told[0]))
    """
    [line] = scene.run(code, **environment)
    assert "caf\\xe9/books.db is no regular file" in line
    scene.arrived("one")


def test_on_windows_the_import_says_in_one_sentence_where_it_runs() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import os; os.name = 'nt'; import lotus_durable"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ImportError: lotus_durable runs on Linux and macOS")
