"""Which directory is used where none is set, and what is said about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.rig import Rig
from tests.scripts import lines

DEFAULT = """
import logging
class Said(logging.Handler):
    def emit(self, record):
        say("log", record.levelname, record.getMessage())
logging.getLogger("lotus_durable").addHandler(Said())
logging.getLogger("lotus_durable").setLevel(logging.INFO)
import lotus_durable as lotus
from lotus_durable import errors
lotus.api_key, lotus.host, lotus.flusher = "test-key", host, "external"
os.environ.pop("HOME", None)
os.environ.pop("XDG_STATE_HOME", None)
exec(sys.argv[3])
try:
    lotus.track_event(customer_id="c", event_name="x")
    lotus.track_event(customer_id="c", event_name="x")
    lotus.flush_interval = 0.03
    lotus.track_event(customer_id="c", event_name="x")
    say("tracked")
except Exception as error:
    say(type(error).__name__, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user that nobody knows")
def test_a_user_without_home_and_passwd_entry_is_told_to_set_one(rig: Rig) -> None:
    said = lines(DEFAULT, rig.queue_dir, rig.server.host, "os.setgroups([]); os.setgid(54321); os.setuid(54321)")
    [refusal] = said
    assert refusal.startswith("QueueDirectoryError queue_dir: none is set, and this user has no home directory for one")
    assert refusal.endswith("set it (lotus_durable.queue_dir or LOTUS_QUEUE_DIR)")


def test_under_systemd_it_is_in_the_first_state_directory_and_said_in_one_line(rig: Rig, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(mode=0o700)
    second.mkdir(mode=0o700)
    said = lines(DEFAULT, rig.queue_dir, rig.server.host, "pass", STATE_DIRECTORY=f"{first}:{second}")
    assert [line for line in said if line.startswith("log INFO")] == [f"log INFO events are kept in {first}/lotus"]
    assert said[-1] == "tracked"
    assert list((first / "lotus" / "journal").iterdir())
    assert not list(second.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes a directory that another user may not use")
def test_a_directory_of_somebody_else_is_refused_with_owner_and_remedy(rig: Rig, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 54321, 54321)
    said = lines(DEFAULT, rig.queue_dir, rig.server.host, f"lotus.queue_dir = {str(theirs)!r}")
    assert "belongs to user 54321, this process runs as user 0" in said[-1]
    assert "run it as the owner, or give this program a directory of its own" in said[-1]
