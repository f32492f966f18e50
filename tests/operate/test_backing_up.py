"""A backup of a queue in use, put back: nothing is lost, and what was settled by then is not sent again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.operate import backing_up
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


def test_what_is_settled_between_the_copies_of_both_databases_is_not_sent_again(
    rigs: Callable[..., Rig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rigs("L22", customers=["c1"])
    client = rig.client(backend="sqlite")

    def append_and_settle() -> None:
        track(client, 5)
        track(client, 2, customer_id="nobody")
        assert client.drain().complete

    append_and_settle()
    track(client, 3)
    copy_database = backing_up._copy_database

    def copied(source: str, target: str) -> None:
        copy_database(source, target)
        if source == rig.directory.queue_db:
            append_and_settle()

    monkeypatch.setattr(backing_up, "_copy_database", copied)
    back_up(rig.directory, str(tmp_path / "copy"))
    rig.stop()
    restored = Rig(rig.server, tmp_path / "copy")
    client = restored.client(backend="sqlite")
    track(client, 1)
    assert client.drain().complete
    stats = restored.stats()
    assert conserved(stats)
    assert (stats.accepted, stats.delivered, stats.parked) == (18, 14, 4)
    assert len(restored.stored("parked")) == 4
    assert set(rig.server.times_received.values()) == {1}
    assert not [said for said in restored.messages() if "older" in said]
    restored.stop()


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
