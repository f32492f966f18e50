"""A backup of a queue in use, put back: nothing is lost, and what was settled by then is not sent again."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lotus_durable.errors import ConfigurationError
from lotus_durable.operate.backing_up import back_up
from lotus_durable.operate.checking import check
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing import Faults
from tests.rig import Rig, conserved, track

from .conftest import LONG_AGO


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_a_backup_of_a_queue_in_use_can_be_used(rig: Rig, tmp_path: Path, backend: str) -> None:
    client = rig.client(flusher="auto", backend=backend, max_batch_events=20)
    dead = track(client, 3, time_created=LONG_AGO)
    ids = [*dead]
    ended = threading.Event()

    def go_on() -> None:
        while not ended.is_set():
            ids.extend(track(client, 5))

    thread = threading.Thread(target=go_on)
    thread.start()
    copies = []
    try:
        for number in range(5):
            accepted = list(ids)
            copies.append((tmp_path / f"copy{number}", accepted))
            back_up(rig.directory, str(copies[-1][0]))
    finally:
        ended.set()
        thread.join()
    assert rig.client().drain().complete
    rig.stop()
    sent = set(rig.server.times_received)
    for path, accepted in copies:
        restored = Rig(rig.server, path)
        assert check(QueueDirectory(path)).findings == []
        pending, dead_ids = restored.pending_ids(), restored.ids("dead")
        assert set(accepted) <= sent | pending | dead_ids
        assert restored.client().drain().complete
        stats = restored.stats()
        assert conserved(stats)
        assert stats.accepted >= len(accepted)
        assert (stats.pending, stats.dead_lettered) == (0, 3)
        restored.stop()
    assert set(rig.server.times_received) == set(ids) - set(dead)


def test_nothing_is_put_over_what_is_there(rig: Rig, tmp_path: Path) -> None:
    track(rig.client(), 1)
    with pytest.raises(ConfigurationError, match="exists"):
        back_up(rig.directory, str(tmp_path))


def test_a_copy_is_there_as_a_whole_or_not_at_all(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track(rig.client(), 1)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="No space"):
        back_up(rig.directory, str(tmp_path / "copy"))
    assert [path.name for path in tmp_path.iterdir()] == [rig.queue_dir.name]


def test_it_is_of_this_user_only(rig: Rig, tmp_path: Path) -> None:
    track(rig.client(), 1)
    rig.server.faults = Faults()
    rig.client().drain()
    back_up(rig.directory, str(tmp_path / "copy"))
    for path in [tmp_path / "copy", *(tmp_path / "copy").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0
