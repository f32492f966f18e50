"""Parts of a queue directory from a backup, older than the others: nothing that any part holds is lost or skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.client import Client
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.testing import Status
from tests.rig import Rig, conserved, faults, track, wait_until

PARTS = {
    "books": ["books.db", "books.db-wal", "books.db-shm"],
    "segments": ["journal"],
    "rows": ["queue.db", "queue.db-wal", "queue.db-shm"],
    "ids": ["delivered"],
    "heartbeat": ["heartbeat", "requests", "starting"],
}


def copied(queue: Path, to: Path) -> None:
    shutil.copytree(queue, to)


def put_back(backup: Path, queue: Path, names: list[str]) -> None:
    """Replace these by what the backup has of them."""
    for name in names:
        here, there = queue / name, backup / name
        if here.is_dir():
            shutil.rmtree(here)
        else:
            here.unlink(missing_ok=True)
        if there.is_dir():
            shutil.copytree(there, here)
        elif there.exists():
            shutil.copy(there, here)


@pytest.fixture
def l22(rigs: Callable[..., Rig]) -> Rig:
    return rigs("L22", customers=["known"])


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
@pytest.mark.parametrize(
    "older",
    [("books",), ("segments",), ("rows",), ("books", "heartbeat"), ("segments", "rows"), ("rows", "heartbeat"),
     ("books", "ids"), ("segments", "ids"), ("books", "segments", "rows", "ids", "heartbeat")],
    ids="+".join,
)  # fmt: skip
def test_whatever_is_older_than_the_rest_what_any_part_holds_is_delivered(
    l22: Rig, tmp_path: Path, older: tuple[str, ...], backend: str
) -> None:
    backup = tmp_path / "backup"

    def begin() -> tuple[list[str], list[str]]:
        """Have some delivered, some parked and some pending; return the last two."""
        client = l22.client(backend=backend)
        track(client, 5, customer_id="known")
        parked = track(client, 5, customer_id="new")
        assert client.drain(20).complete
        pending = track(client, 5, customer_id="known")
        client.release()
        return parked, pending

    parked, pending = begin()
    copied(l22.queue_dir, backup)
    assert l22.client().drain(20).complete
    held_parked, held_pending = begin()
    l22.stop()
    names = [name for part in older for name in PARTS[part]]
    put_back(backup, l22.queue_dir, names)
    # What a part held that was replaced by an older one, nobody can find any more.
    held = set(parked) | set(held_parked if "books" not in older else ())
    own = "segments" if backend == "journal" else "rows"
    held |= set(pending if own in older else held_pending)

    client = l22.client(backend=backend)
    held |= set(track(client, 5, customer_id="known"))
    l22.server.add_customer("new")
    assert client.drain(20).complete
    assert client.drain(20).complete
    l22.stop()
    assert held <= set(l22.server.times_received)
    stats = l22.stats()
    assert conserved(stats)
    assert (stats.pending, stats.parked, stats.dead_lettered) == (0, 0, 0)


@pytest.mark.parametrize("older", [("segments",), ("books", "segments")], ids="+".join)
def test_what_was_delivered_lately_is_not_sent_again_where_the_books_or_the_ids_say_so(
    l22: Rig, tmp_path: Path, older: tuple[str, ...]
) -> None:
    client = l22.client()
    ids = track(client, 10, customer_id="known")
    client.release()
    copied(l22.queue_dir, tmp_path / "backup")
    assert l22.client().drain(20).complete
    l22.stop()
    put_back(tmp_path / "backup", l22.queue_dir, [name for part in older for name in PARTS[part]])
    posts = len(l22.posts)
    assert l22.client().drain(20).complete
    assert len(l22.posts) == posts
    assert set(l22.server.times_received) == set(ids)
    assert l22.stats().delivered == 10


def test_books_without_their_log_are_told_with_the_numbers_that_are_missing(l22: Rig) -> None:
    """``cp books.db`` while it is in use takes no ``-wal`` along, and with it what was settled last."""
    client = l22.client(flusher="auto")
    first = track(client, 1, customer_id="new")
    wait_until(lambda: l22.stats().parked == 1, "an event to be parked")
    l22.stop()
    books = Path(l22.directory.books)
    copy = books.read_bytes()
    client = l22.client(flusher="auto")
    track(client, 9, customer_id="new")
    wait_until(lambda: l22.stats().parked == 10, "more events to be parked")
    l22.stop()
    for name in PARTS["books"]:
        (l22.queue_dir / name).unlink(missing_ok=True)
    for name in l22.directory.segments():  # a flusher that was not stopped so soon would have deleted them
        Path(l22.directory.journal, name).unlink()
    books.write_bytes(copy)
    l22.errors.clear()
    assert l22.client().drain(20).complete
    [message] = [each for each in l22.messages() if "older than the last count" in each]
    assert "parked events: 10, dead letters: 0, now 1 and 0" in message
    assert l22.ids("parked") == set(first)


@pytest.mark.parametrize("how", ["removed", "replaced by a copy"])
def test_books_that_are_removed_or_replaced_under_an_idle_flusher_are_written_back(l22: Rig, how: str) -> None:
    client = l22.client(flusher="auto")
    ids = track(client, 5, customer_id="new")
    wait_until(lambda: l22.stats().parked == 5, "the events to be parked")
    books = Path(l22.directory.books)
    copy = books.with_name("copy")
    shutil.copy(books, copy)
    for name in PARTS["books"]:
        (l22.queue_dir / name).unlink(missing_ok=True)
    if how != "removed":
        copy.rename(books)

    wait_until_told_that_books_were_written_back(l22, client)
    assert l22.check(ids).parked == 5
    assert l22.ids("parked") == set(ids)


@pytest.mark.parametrize("status", [503, 401])
def test_books_that_are_removed_while_the_flusher_waits_for_the_server_are_written_back_before_that_is_over(
    l22: Rig, status: int
) -> None:
    client = l22.client(flusher="auto", first_pause=600.0, longest_pause=600.0, probe_interval=600.0)
    parked = track(client, 5, customer_id="new")
    wait_until(lambda: l22.stats().parked == 5, "the events to be parked")
    l22.server.faults = faults(rates={Status(status): 1.0})
    pending = track(client, 1, customer_id="known")
    wait_until(lambda: (beat := read_beat(l22.directory)) is not None and beat.waits_until is not None, "it to wait")
    for name in PARTS["books"]:
        (l22.queue_dir / name).unlink()
    wait_until_told_that_books_were_written_back(l22, client)
    beat = read_beat(l22.directory)
    assert beat is not None
    assert beat.waits_until is not None
    assert l22.ids("parked") == set(parked)
    l22.server.faults = faults()
    assert l22.check([*parked, *pending]).pending == 1


def wait_until_told_that_books_were_written_back(rig: Rig, client: Client) -> None:
    def is_told() -> bool:
        client._tracker.look_now()
        return any("were written back" in each for each in rig.messages())

    wait_until(is_told)
