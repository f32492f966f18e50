"""Erasing a customer: nothing of him is left, everything of others is delivered once, and the sum holds."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from pathlib import Path

import pytest

from lotus_durable.operate.erasing import Erased, erase_customer
from lotus_durable.operate.holding import held
from lotus_durable.operate.repairing import repair
from lotus_durable.operate.stored import stored_events
from lotus_durable.queue.books import Books
from lotus_durable.queue.directory import QueueDirectory
from tests.rig import Rig, conserved, track

from .conftest import Scene
from .killing import killed

GONE = "customer-who-wants-to-be-forgotten"


def bytes_of(rig: Rig) -> bytes:
    paths = [path for path in Path(rig.queue_dir).rglob("*") if path.is_file() and path.name != "heartbeat"]
    return b"".join(path.read_bytes() for path in paths)


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_what_is_pending_of_him_is_gone_and_of_others_is_delivered(rig: Rig, backend: str) -> None:
    client = rig.client(backend=backend)
    before = track(client, 5)
    theirs = track(client, 7, customer_id=GONE)
    after = track(client, 5)
    assert GONE.encode() in bytes_of(rig)
    assert erase_customer(rig.config(), GONE) == Erased(7, 0, 0, 0, 0)
    assert GONE.encode() not in bytes_of(rig)  # although the client lives, and has its segment open
    stats = rig.stats()
    assert (stats.accepted, stats.pending, stats.discarded) == (17, 10, 7)
    assert conserved(stats)
    later = track(client, 3)
    assert rig.client().drain().complete
    assert dict(rig.server.times_received) == dict.fromkeys([*before, *after, *later], 1)
    stats = rig.stats()
    assert (stats.accepted, stats.delivered, stats.discarded) == (20, 13, 7)
    assert not set(theirs) & set(rig.server.times_received)


def test_what_is_no_file_is_in_the_way_of_no_erasure(scene: Scene) -> None:
    scene.make_dead(2, customer_id=GONE)
    track(scene.rig.client(), 1, customer_id=GONE)
    for folder, make in itertools.product(("journal", "quarantine"), (os.mkfifo, os.mkdir)):
        make(f"{scene.rig.queue_dir}/{folder}/{make.__name__}.seg")
    assert erase_customer(scene.rig.config(), GONE) == Erased(1, 0, 2, 0, 0)
    assert list(stored_events(scene.rig.directory, ["quarantined"])) == []


def test_nobody_is_erased_without_an_id(scene: Scene) -> None:
    scene.make_dead(2)
    directory = scene.rig.directory
    Path(directory.quarantine, "some-bytes").write_bytes(bytes(range(256)))
    assert erase_customer(scene.rig.config(), "") == Erased(0, 0, 0, 0, 0)


def test_a_writer_that_is_told_late_carries_nothing_of_him_back(rig: Rig) -> None:
    client = rig.client()
    track(client, 1)
    others = track(client, 1)
    track(client, 3, customer_id=GONE)  # the last frames, which the writer still knows
    erase_customer(rig.config(), GONE)
    others += track(client, 2)
    assert rig.client().drain().complete
    assert len(rig.server.times_received) == 4
    assert GONE.encode() not in str(rig.server.events).encode()
    assert conserved(rig.stats())


def test_a_damaged_file_that_is_gone_in_this_moment_hides_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.make_dead(1)
    scene.rig.client().drain()
    quarantine = Path(scene.rig.directory.quarantine)
    for name in ("1.bin", "2.bin", "3.bin"):
        (quarantine / name).write_bytes(b"\xd9" + bytes([len(GONE)]) + GONE.encode())
    real = os.lstat

    def lstat(path: str, **options: int) -> os.stat_result:
        if str(path).endswith("2.bin"):
            os.unlink(path)
        return real(path, **options)

    monkeypatch.setattr(os, "lstat", lstat)
    assert erase_customer(scene.rig.config(), GONE).quarantined == 2
    assert not list(quarantine.iterdir())


def test_dead_letters_and_quarantine_are_erased_too(scene: Scene) -> None:
    scene.make_dead(2)
    scene.make_dead(3, customer_id=GONE)
    scene.rig.client().drain()
    quarantine = Path(scene.rig.directory.quarantine)
    (quarantine / "1.bin").write_bytes(b"\xd9" + bytes([len(GONE)]) + GONE.encode())
    (quarantine / "2.bin").write_bytes(b"another's")
    erased = erase_customer(scene.rig.config(), GONE)
    assert (erased.pending, erased.dead_letters, erased.quarantined) == (0, 3, 1)
    assert [path.name for path in quarantine.iterdir()] == ["2.bin"]
    assert GONE.encode() not in bytes_of(scene.rig)
    stats = scene.rig.stats()
    assert (stats.dead_lettered, stats.discarded) == (2, 3)
    assert conserved(stats)


def test_an_erasure_that_the_disk_has_cut_short_is_completed_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.make_dead(3, customer_id=GONE)
    with monkeypatch.context() as patch:
        patch.setattr(Books, "overwrite_deleted", lambda _: os.open("/nowhere/at all", os.O_RDONLY))
        with pytest.raises(FileNotFoundError):
            erase_customer(scene.rig.config(), GONE)
    assert GONE.encode() in bytes_of(scene.rig)
    assert erase_customer(scene.rig.config(), GONE) == Erased(0, 0, 0, 0, 0)
    assert GONE.encode() not in bytes_of(scene.rig)


def test_what_was_parked_of_him_before_it_was_delivered_is_overwritten(parking: Rig) -> None:
    track(parking.client(), 3, customer_id=GONE)
    parking.client().drain()
    parking.server.add_customer(GONE)
    assert parking.client().drain().delivered == 3
    assert erase_customer(parking.config(), GONE) == Erased(0, 0, 0, 0, 0)
    assert GONE.encode() not in bytes_of(parking)


def test_damaged_books_that_are_kept_keep_nothing_of_him(scene: Scene) -> None:
    scene.make_dead(200, customer_id=GONE)
    books = Path(scene.rig.directory.books)
    with contextlib.closing(sqlite3.connect(books)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = books.read_bytes()
    books.write_bytes(data[:4096] + b"\xff" * 4096 + data[8192:])
    assert repair(scene.rig.config()).damaged == 0
    assert GONE.encode() in b"".join(each.data for each in stored_events(scene.rig.directory, ["quarantined"]))
    erased = erase_customer(scene.rig.config(), GONE)
    assert erased.quarantined == 1
    assert GONE.encode() not in bytes_of(scene.rig)


def test_a_large_file_of_damaged_bytes_is_given_in_pieces_and_erased_as_one(scene: Scene) -> None:
    scene.make_dead(1)
    quarantine = Path(scene.rig.directory.quarantine)
    data = b"x" * ((1 << 20) - 10) + b"\xd9" + bytes([len(GONE)]) + GONE.encode() + b"y" * (1 << 20)
    (quarantine / "1.bin").write_bytes(data)
    (quarantine / "2.bin").touch()
    found = list(stored_events(scene.rig.directory, ["quarantined"]))
    places = ["1.bin", "1.bin, byte 1048576", "1.bin, byte 2097152", "2.bin"]
    assert [each.place for each in found] == [f"quarantine/{place}" for place in places]
    assert b"".join(each.data for each in found) == data
    assert erase_customer(scene.rig.config(), GONE).quarantined == 1
    assert [path.name for path in quarantine.iterdir()] == ["2.bin"]


def test_nothing_is_written_anew_where_there_is_nothing_of_him(rig: Rig) -> None:
    track(rig.client(), 3)
    [name] = rig.directory.segments()
    assert erase_customer(rig.config(), GONE) == Erased(0, 0, 0, 0, 0)
    assert rig.directory.segments() == [name]


STEPS = [
    "before an event is written",
    "before it is finished",
    "after it is finished",
    "before it is settled",
    "within the transaction",
    "after it is settled",
    "before it is published",
    "after it is published",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_loses_and_doubles_nothing(rig: Rig, step: str) -> None:
    client = rig.client()
    ids = track(client, 4)
    track(client, 3, customer_id=GONE)
    client.release()
    with held(rig.config()):
        pass  # so that the books are there, and what is killed does not make them
    code = f"from lotus_durable.operate.erasing import erase_customer\nerase_customer(config, {GONE!r})"
    killed(rig, code, step)
    erase_customer(rig.config(), GONE)
    stats = rig.stats()
    assert conserved(stats)
    assert (stats.accepted, stats.pending, stats.discarded) == (7, 4, 3)
    assert [each for each in stored_events(QueueDirectory(rig.queue_dir), ["pending"]) if each.event is None] == []
    assert rig.client().drain().complete
    assert dict(rig.server.times_received) == dict.fromkeys(ids, 1)
    stats = rig.stats()
    assert (stats.accepted, stats.delivered, stats.discarded) == (7, 4, 3)
    assert rig.directory.unfinished() == [] or step in STEPS[:5]  # what a kill left is removed a minute later
