"""Check finds each damage and where it is; repair mends it, keeps every byte, and what is around it is delivered."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.delivery.control import Control
from lotus_durable.errors import QueueDamaged
from lotus_durable.operate import checking, refuse
from lotus_durable.operate.backing_up import back_up
from lotus_durable.operate.checking import check
from lotus_durable.operate.repairing import repair
from lotus_durable.operate.stored import stored_events
from lotus_durable.queue.books import Books
from lotus_durable.queue.contents import read_all
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import HEADER_SIZE
from lotus_durable.queue.identity import ensure_identity
from lotus_durable.queue.protocol import Settlement, StoredEvent
from lotus_durable.queue.table import EventTable
from tests.queue.faults import remount, small_disk
from tests.rig import Rig, conserved, record, track

from .conftest import Scene
from .killing import killed


def a_segment(rig: Rig, count: int = 10) -> tuple[list[str], Path]:
    """Track with a client that ends; return the ids and the segment."""
    client = rig.client()
    before = set(rig.directory.segments())
    ids = track(client, count)
    client.release()
    [name] = set(rig.directory.segments()) - before
    return ids, Path(rig.directory.journal, name)


def damage(path: Path, what: bytes, with_what: bytes) -> int:
    data = path.read_bytes()
    offset = data.index(what)
    path.write_bytes(data.replace(what, with_what))
    return offset


def test_a_sound_queue_is_sound_and_is_not_changed(rig: Rig) -> None:
    track(rig.client(), 100)
    before = {path: path.stat().st_mtime_ns for path in rig.queue_dir.rglob("*")}
    found = check(rig.directory)
    assert (found.damaged, found.events, found.findings) == (0, 100, [])
    assert {path: path.stat().st_mtime_ns for path in rig.queue_dir.rglob("*")} == before


def test_books_that_are_being_made_are_no_damage(rig: Rig) -> None:
    track(rig.client(), 1)
    EventTable(rig.directory.books, "parked").close()
    assert check(rig.directory).findings == []


def test_what_is_settled_while_it_looks_is_no_damage(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.directory.prepare()
    ensure_identity(rig.directory)
    books = Books(rig.directory, refuse)
    event = StoredEvent(record("id"), "refused", 1, 0.0, 0.0)
    entry = Settlement(accepted=2, parked=[event], dead=[event])
    books.settle(entry)

    def settled_meanwhile(*arguments: Any) -> Iterator[StoredEvent]:
        if books.known.counts.accepted < 10:
            books.settle(entry)
        return read_all(*arguments)

    monkeypatch.setattr(checking, "read_all", settled_meanwhile)
    assert check(rig.directory).findings == []
    books.close()


def test_repair_begins_no_new_books_for_a_row_that_stays_a_dead_letter(rig: Rig) -> None:
    rig.directory.prepare()
    ensure_identity(rig.directory)
    books = Books(rig.directory, refuse)
    books.settle(Settlement(accepted=1, dead=[StoredEvent(record("id"), "refused", 1, 0.0, 0.0)]))
    books.close()
    with contextlib.closing(sqlite3.connect(rig.directory.books)) as connection, connection:
        connection.execute("UPDATE queue_dead SET data = x'00'")
    [finding] = repair(rig.config()).findings
    assert (finding.offset, finding.remedy) == (1, "it stays, as a dead letter")
    assert not list(rig.queue_dir.glob("quarantine/*"))


def test_a_damaged_frame_is_named_with_its_place_and_what_is_lost(rig: Rig) -> None:
    ids, path = a_segment(rig)
    damage(path, ids[4].encode(), b"x" * 36)
    found = check(rig.directory)
    [finding] = found.findings
    assert finding.path == f"journal/{path.name}"
    assert finding.lost == "1 event"
    assert finding.offset is not None
    assert b"x" * 36 in path.read_bytes()[finding.offset :][:200]
    assert found.events == 9


def test_repair_keeps_the_bytes_and_delivers_what_is_around_them(rig: Rig) -> None:
    ids, path = a_segment(rig)
    others, _ = a_segment(rig)
    damage(path, ids[4].encode(), b"x" * 36)
    assert check(rig.directory).damaged == 1
    said: list[str] = []
    assert repair(rig.config(), report=lambda error: said.append(str(error))).damaged == 0
    [kept] = Path(rig.directory.quarantine).iterdir()
    assert b"x" * 36 in kept.read_bytes()
    assert str(kept) in said[0]
    stats = rig.stats()
    assert (stats.accepted, stats.pending, stats.dead_lettered) == (20, 19, 1)
    assert conserved(stats)
    assert rig.client().drain().complete
    assert set(rig.server.times_received) == {*ids, *others} - {ids[4]}
    assert conserved(rig.stats())


@pytest.mark.parametrize("step", ["after it is finished", "within the transaction", "before it is published"])
def test_a_repair_that_is_killed_is_made_good_by_the_next(rig: Rig, step: str) -> None:
    ids, path = a_segment(rig)
    damage(path, ids[4].encode(), b"x" * 36)
    killed(rig, "from lotus_durable.operate.repairing import repair\nrepair(config)", step)
    repair(rig.config())
    stats = rig.stats()
    assert (stats.accepted, stats.pending, stats.dead_lettered) == (10, 9, 1)
    assert rig.client().drain().complete
    assert dict(rig.server.times_received) == dict.fromkeys(set(ids) - {ids[4]}, 1)


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_what_cannot_be_read_now_is_named_and_left_where_it_is(
    rig: Rig, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = rig.client(backend=backend)
    ids = track(client, 5)
    client.release()

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(checking, "SegmentReader" if backend == "journal" else "_quick_check", refused)
        assert "it cannot be read: Permission denied" in {finding.what for finding in check(rig.directory).findings}
        assert repair(rig.config()).damaged >= 1
    assert not list(Path(rig.directory.quarantine).iterdir())
    assert check(rig.directory).findings == []
    assert rig.client().drain().complete
    assert rig.stats().delivered == 5
    assert set(rig.server.times_received) == set(ids)


def test_what_is_no_segment_is_named_and_moved_aside(rig: Rig) -> None:
    ids, path = a_segment(rig)
    journal = Path(rig.directory.journal)
    (journal / "folder.seg").mkdir()
    os.mkfifo(journal / "fifo.seg")
    (journal / "link.seg").symlink_to(path)
    (journal / "notes.txt").write_text("whose?")
    assert {finding.path for finding in check(rig.directory).findings} == {
        "journal/folder.seg", "journal/fifo.seg", "journal/link.seg", "journal/notes.txt",
    }  # fmt: skip
    assert repair(rig.config()).damaged == 0
    assert len(list(Path(rig.directory.quarantine).iterdir())) == 4
    assert rig.client().drain().complete
    assert set(rig.server.times_received) == set(ids)


@pytest.mark.parametrize("name", [b"\xff.seg", b"\xff.new", b"two\nlines.seg"])
def test_a_name_that_no_log_can_hold_is_in_nobodys_way(rig: Rig, name: bytes) -> None:
    ids, path = a_segment(rig)
    Path(rig.directory.journal, os.fsdecode(name)).write_bytes(path.read_bytes()[:-1])
    [finding] = check(rig.directory).findings
    assert (os.fsencode(finding.path), finding.what) == (b"journal/" + name, "it is no segment")
    assert rig.client().drain().complete
    rig.check(ids)
    assert repair(rig.config()).damaged == 0
    assert [os.fsencode(kept.name).endswith(b"-" + name) for kept in Path(rig.directory.quarantine).iterdir()] == [True]


def test_a_repair_shows_signs_of_life_while_it_looks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, path = a_segment(rig)
    damage(path, ids[4].encode(), b"x" * 36)
    beats: list[None] = []
    monkeypatch.setattr(Control, "beat_if_due", lambda _: beats.append(None))
    seen: list[int] = []
    repair(rig.config(), watch=lambda _: seen.append(len(beats)))
    assert seen[0] > 0
    assert seen[1] > seen[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
@pytest.mark.parametrize("killed", [False, True])
def test_a_queue_on_a_disk_that_is_mounted_to_be_read_is_read(scene: Scene, tmp_path: Path, killed: bool) -> None:
    dead = scene.make_dead(2)
    rig = scene.rig
    track(rig.client(backend="sqlite"), 1)
    with small_disk(tmp_path / "disk", "64M") as disk:
        directory = QueueDirectory(disk / "queue")
        back_up(rig.directory, directory.root)
        if killed:  # a flusher, and a program: their logs are there, and not what their processes shared
            for path in (rig.directory.books, rig.directory.queue_db):
                for suffix in ("", "-wal"):
                    shutil.copy(f"{path}{suffix}", directory.root)
        remount(disk, "ro")
        assert check(directory).findings == []
        found = list(stored_events(directory, ["pending", "dead_letter"], report=refuse))
        assert [each.state for each in found] == ["pending", "dead_letter", "dead_letter"]
        assert [each.event.idempotency_id for each in found[1:] if each.event] == dead
        back_up(directory, str(tmp_path / "again"))
    assert check(QueueDirectory(tmp_path / "again")).findings == []


def test_damaged_books_are_named_and_begun_anew(rig: Rig) -> None:
    a_segment(rig)
    rig.client().drain()
    books = Path(rig.directory.books)
    data = bytearray(books.read_bytes())
    data[4096 : 4096 * 3] = b"\xff" * 4096 * 2
    books.write_bytes(bytes(data))
    assert any(finding.path == "books.db" for finding in check(rig.directory).findings)
    assert not any(finding.path == "books.db" for finding in repair(rig.config()).findings)
    assert list(rig.queue_dir.glob("quarantine/books.db.damaged-*"))


def test_a_damaged_identity_is_kept_and_made_anew_and_the_events_still_know_their_key(rig: Rig) -> None:
    client = rig.client()
    ids = track(client, 1)
    client.release()
    Path(rig.directory.identity).write_text("nonsense")
    assert [finding.path for finding in check(rig.directory).findings] == ["identity"]
    assert repair(rig.config()).damaged == 0
    [kept] = Path(rig.directory.quarantine).iterdir()
    assert kept.read_text() == "nonsense"
    assert rig.client().drain(20).complete
    rig.check(ids)


def test_a_queue_of_a_later_version_is_not_for_this_one_to_repair(rig: Rig) -> None:
    a_segment(rig)
    later = Path(rig.directory.identity).read_text().splitlines()[0] + "\nformat 99\nid 00\n"
    Path(rig.directory.identity).write_text(later)
    [finding] = check(rig.directory).findings
    assert "use a newer version" in finding.remedy
    with pytest.raises(QueueDamaged, match="format 99"):
        repair(rig.config())
    assert Path(rig.directory.identity).read_text() == later


def test_a_segment_whose_header_is_damaged_is_mended_once(rig: Rig) -> None:
    ids, path = a_segment(rig)
    others, _ = a_segment(rig)
    path.write_bytes(b"\xff" * HEADER_SIZE + path.read_bytes()[HEADER_SIZE:])
    assert check(rig.directory).damaged
    assert repair(rig.config()).findings == []
    stats = rig.stats()
    assert conserved(stats)
    assert rig.client().drain().complete
    assert set(others) <= set(rig.server.times_received) <= {*ids, *others}
    assert conserved(rig.stats())


def test_a_link_in_the_place_of_the_identity_is_moved_aside(rig: Rig, tmp_path: Path) -> None:
    a_segment(rig)
    Path(rig.directory.identity).rename(tmp_path / "elsewhere")
    Path(rig.directory.identity).symlink_to(tmp_path / "elsewhere")
    assert [finding.path for finding in check(rig.directory).findings] == ["identity"]
    assert repair(rig.config()).damaged == 0
    assert rig.client().drain().complete
    assert rig.stats().delivered == 10


def test_rows_of_a_damaged_queue_db_are_moved_into_a_segment(rig: Rig) -> None:
    client = rig.client(backend="sqlite")
    ids = track(client, 300)
    client.release()
    with sqlite3.connect(rig.directory.queue_db) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [[page]] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'queue_pending'").fetchall()
    connection.close()
    path = Path(rig.directory.queue_db)
    data = bytearray(path.read_bytes())
    data[len(data) - 4096 :] = b"\xff" * 4096
    path.write_bytes(bytes(data))
    assert any(finding.path == "queue.db" for finding in check(rig.directory).findings), page
    repair(rig.config())
    assert not path.exists()
    assert [kept.name.endswith("queue.db") for kept in Path(rig.directory.quarantine).iterdir()]
    moved = [each.event.idempotency_id for each in stored_events(rig.directory, ["pending"]) if each.event]
    assert len(moved) > 250
    assert set(moved) <= set(ids)
    assert rig.client().drain().complete
    assert set(rig.server.times_received) == set(moved)
