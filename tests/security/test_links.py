"""Symbolic links in a queue directory are not followed: nothing outside of it is read as a queue's, or written."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from lotus_durable.errors import LotusError, QueueDirectoryError
from lotus_durable.operate.backing_up import back_up
from lotus_durable.operate.stored import stored_events
from tests.rig import Rig, rig, rigs, track  # noqa: F401  # fixtures


@pytest.mark.parametrize("name", ["journal", "quarantine", "kept"])
def test_a_folder_that_is_a_link_is_refused(rig: Rig, tmp_path: Path, name: str) -> None:  # noqa: F811
    track(rig.client(), 1)
    rig.stop()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder = rig.queue_dir / name
    if folder.exists():
        folder.rename(rig.queue_dir / "aside")
    folder.symlink_to(elsewhere)
    with pytest.raises(QueueDirectoryError, match="is a symbolic link"):
        rig.directory.check()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["identity", "heartbeat", "requests", "starting", "flusher.lock", "flusher.log"])
def test_a_file_that_is_a_link_is_refused_and_not_written(rig: Rig, tmp_path: Path, name: str) -> None:  # noqa: F811
    track(rig.client(), 1)
    rig.stop()
    outside = tmp_path / "outside"
    outside.write_text("mine")
    path = rig.queue_dir / name
    path.unlink(missing_ok=True)
    path.symlink_to(outside)
    with contextlib.suppress(LotusError):
        rig.client().drain(timeout=1.0)
    path.unlink()
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("name", ["books.db", "books.db-wal", "queue.db"])
def test_a_database_that_is_a_link_is_not_opened(rig: Rig, tmp_path: Path, name: str) -> None:  # noqa: F811
    track(rig.client(backend="sqlite"), 1)
    rig.client().drain()
    rig.stop()
    outside = tmp_path / "outside"
    (rig.queue_dir / name).rename(outside)
    before = outside.read_bytes()
    (rig.queue_dir / name).symlink_to(outside)
    with contextlib.suppress(LotusError):
        rig.client().drain(timeout=1.0)
    assert outside.read_bytes() == before


def test_a_segment_that_is_a_link_is_neither_delivered_nor_exported_nor_copied(rig: Rig, tmp_path: Path) -> None:  # noqa: F811
    theirs = Rig(rig.server, tmp_path / "theirs")
    track(theirs.client(), 3)
    [name] = theirs.directory.segments()
    mine = track(rig.client(), 1)
    Path(rig.directory.journal, name).symlink_to(Path(theirs.directory.journal, name))
    assert len(list(stored_events(rig.directory, ["pending"]))) == 1
    back_up(rig.directory, str(tmp_path / "copy"))
    assert not (tmp_path / "copy" / "journal" / name).exists()
    rig.client().drain()
    assert set(rig.server.times_received) == set(mine)
    theirs.stop()


def test_bytes_of_damage_are_not_written_through_a_link(rig: Rig, tmp_path: Path) -> None:  # noqa: F811
    client = rig.client()
    ids = track(client, 3)
    client.release()
    [name] = rig.directory.segments()
    path = Path(rig.directory.journal, name)
    data = path.read_bytes()
    path.write_bytes(data.replace(ids[0].encode(), b"x" * 36))
    outside = tmp_path / "outside"
    outside.write_text("mine")
    Path(rig.directory.quarantine, f"{name}-56.bin").symlink_to(outside)
    rig.client().drain(timeout=2.0)
    assert outside.read_text() == "mine"
