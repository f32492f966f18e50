"""Segments that are kept after delivery, and asking the server about what was in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.errors import NotSupported, UnexpectedAnswer
from lotus_durable.operate.erasing import erase_customer
from lotus_durable.operate.holding import held
from lotus_durable.operate.stored import stored_events
from lotus_durable.operate.verifying import verify
from lotus_durable.queue.kept import KeptSegments, kept_files
from tests.rig import Rig, answers_hashes, conserved, rigs, track  # noqa: F401  # a fixture

from .conftest import LONG_AGO
from .killing import killed

KEEP = {"keep_delivered": 3600.0}


def delivered(rig: Rig, count: int, **fields: object) -> list[str]:
    """Have events delivered by a client that ends, so that its segment is kept."""
    client = rig.client(**KEEP)
    ids = track(client, count, **fields)
    assert client.drain().complete
    client.release()
    rig.client(**KEEP).drain()
    return ids


def forget(rig: Rig, *ids: str) -> None:
    """Have the server lose events that it accepted."""
    rig.server._state.database.forget(ids)


def test_delivered_segments_are_kept_and_counted_as_delivered(rig: Rig) -> None:
    ids = delivered(rig, 5)
    assert rig.directory.segments() == []
    [file] = kept_files(rig.directory)
    assert Path(file.path).stat().st_mode & 0o777 == 0o600
    kept = [each.event.idempotency_id for each in stored_events(rig.directory, ["kept"]) if each.event]
    assert kept == ids
    stats = rig.stats()
    assert (stats.accepted, stats.delivered, stats.pending) == (5, 5, 0)


def test_without_the_option_nothing_is_kept(rig: Rig) -> None:
    client = rig.client()
    track(client, 3)
    client.drain()
    client.release()
    rig.client().drain()
    assert not Path(rig.directory.kept).exists()


def test_what_is_kept_is_bounded_by_age_and_by_bytes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        delivered(rig, 3)
    files = sorted(kept_files(rig.directory))
    assert len(files) == 3
    KeptSegments(rig.directory, 3600.0, sum(file.size for file in files[1:])).expire()
    assert len(list(kept_files(rig.directory))) == 2
    now = files[0].settled_at + 4000
    monkeypatch.setattr("lotus_durable.queue.kept.time.time", lambda: now)
    KeptSegments(rig.directory, 3600.0, 1 << 30).expire()
    assert list(kept_files(rig.directory)) == []


def test_the_server_is_asked_about_all_that_was_delivered(rig: Rig) -> None:
    delivered(rig, 700)
    live = rig.client(**KEEP)
    track(live, 3)
    live.drain()  # in a segment that is still written
    result = verify(rig.config(), ingestion_takes=0.0)
    assert (result.asked, result.unknown, result.too_young) == (703, [], 0)
    assert verify(rig.config()).too_young == 703


def test_what_the_server_lost_is_put_back_and_delivered_with_its_id(rig: Rig) -> None:
    ids = delivered(rig, 10)
    forget(rig, *ids[2:5])
    result = verify(rig.config(), ingestion_takes=0.0)
    assert result.unknown == ids[2:5]
    assert rig.stats().pending == 0
    assert verify(rig.config(), ingestion_takes=0.0, resend=True).resent == 3
    stats = rig.stats()
    assert (stats.accepted, stats.delivered, stats.pending) == (10, 7, 3)
    assert conserved(stats)
    assert rig.client(**KEEP).drain().complete
    assert verify(rig.config(), ingestion_takes=0.0).unknown == []
    stats = rig.stats()
    assert (stats.accepted, stats.delivered) == (10, 10)


@pytest.mark.parametrize(
    "step", ["after it is finished", "within the transaction", "before it is published", "after it is published"]
)
def test_a_kill_while_putting_back_loses_and_doubles_nothing(rig: Rig, step: str) -> None:
    ids = delivered(rig, 10)
    forget(rig, *ids[2:5])
    code = """
from lotus_durable.operate.verifying import verify
verify(Config.resolve(dict(queue_dir=queue_dir, host=host, api_key="test-key")), ingestion_takes=0.0, resend=True)
"""
    killed(rig, code, step)
    verify(rig.config(), ingestion_takes=0.0, resend=True)
    with held(rig.config()):
        pass  # whoever has the books next says what is in them
    stats = rig.stats()
    assert conserved(stats)
    assert (stats.accepted, stats.delivered, stats.pending) == (10, 7, 3)
    assert rig.client(**KEEP).drain().complete
    assert rig.stats().delivered == 10
    assert set(rig.server.times_received) == set(ids)


def test_what_was_refused_or_thrown_away_is_not_asked_for_again(rig: Rig) -> None:
    client = rig.client(**KEEP)
    ids = track(client, 3)
    dead = track(client, 4, time_created=LONG_AGO)
    client.drain()
    client.release()
    rig.client(**KEEP).drain()
    assert rig.client().dead_letters(ids=dead[:2]).purge().changed == 2
    result = verify(rig.config(), ingestion_takes=0.0, resend=True)
    assert (result.unknown, result.resent) == ([], 0)
    assert set(rig.server.times_received) == set(ids)


def test_only_the_last_hours_can_be_asked_about(rig: Rig) -> None:
    delivered(rig, 3)
    assert verify(rig.config(), ingestion_takes=0.0, newer_than=0.0).asked == 0
    assert verify(rig.config(), ingestion_takes=0.0, newer_than=3600.0).asked == 3


def test_a_server_that_cannot_say_is_not_believed(rigs: Callable[..., Rig]) -> None:  # noqa: F811
    hashing = rigs(faults=answers_hashes())
    delivered(hashing, 3)
    with pytest.raises(UnexpectedAnswer, match="nobody can say"):
        verify(hashing.config(), ingestion_takes=0.0, resend=True)
    assert hashing.stats().pending == 0
    older = rigs("L22")
    delivered(older, 3)
    with pytest.raises(NotSupported):
        verify(older.config(), ingestion_takes=0.0, resend=True)


def test_what_is_kept_of_a_customer_is_erased_too(rig: Rig) -> None:
    ids = delivered(rig, 3)
    delivered(rig, 2, customer_id="forget-me")
    assert erase_customer(rig.config(), "forget-me").kept == 2
    kept = [each.event.idempotency_id for each in stored_events(rig.directory, ["kept"]) if each.event]
    assert kept == ids
    assert verify(rig.config(), ingestion_takes=0.0).unknown == []
