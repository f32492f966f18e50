"""One queue, one organisation: events under another key wait for it, or for somebody who vouches for ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import ConfigurationError
from lotus_durable.queue.contents import read_learned
from lotus_durable.testing import FakeLotus, Faults, Generation, Slow, Status
from tests.rig import TRACK, Rig, faults, track, wait_until

NEW = "new-key"
GENERATIONS = pytest.mark.parametrize("generation", ["L22", "L24"])


def rotated(rigs: Callable[..., Rig], generation: str) -> tuple[Rig, Client, Client, list[str]]:
    """Give a queue with five events under a key that no flusher ever had, and clients with that and with a new one."""
    rig = rigs(generation)
    old, new = rig.client(), rig.client(api_key=NEW)
    ids = track(old, 5)
    rig.server.rotate_key(NEW, keep_old=True)
    return rig, old, new, ids


@GENERATIONS
def test_events_under_a_key_that_nobody_vouches_for_wait_and_are_told_and_ours_go_on(
    rigs: Callable[..., Rig], generation: str
) -> None:
    rig, _, new, ids = rotated(rigs, generation)
    ours = track(new, 3)
    report = new.drain(20)
    assert not report.complete
    assert (report.delivered, report.remaining) == (3, 5)
    assert "5 events tracked under another API key wait" in (report.reason or "")
    assert [message for message in rig.messages() if "5 events tracked under another API key wait" in message]
    assert set(rig.server.times_received) == set(ours)
    assert rig.check(ids + ours).pending == 5


def test_what_waits_for_another_key_is_told_again_and_again_for_as_long_as_it_waits(rigs: Callable[..., Rig]) -> None:
    rig, _, _, ids = rotated(rigs, "L22")
    watching = rig.client(api_key=NEW)

    def is_told_again() -> bool:
        watching._tracker.look_now()
        return sum("5 events tracked under another API key wait" in message for message in rig.messages()) >= 3

    rig.flush_until(is_told_again, api_key=NEW, report_interval=0.1)
    assert rig.check(ids).pending == 5


def test_who_waits_for_the_verdict_of_an_event_of_another_key_is_told_at_once(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L22")
    ids = track(rig.client(flusher="auto"), 1)
    rig.server.wait_for(1)
    rig.server.rotate_key(NEW, keep_old=True)
    ids += track(rig.client(api_key=NEW, flusher="auto", sync_mode=True, timeout=3600.0), 1)
    assert rig.check(ids).pending == 1


@pytest.mark.parametrize("lives", [False, True])
def test_a_key_that_is_another_organisations_is_refused_where_a_client_is_made_once_the_server_has_said_so(
    rigs: Callable[..., Rig], *, lives: bool
) -> None:
    rig = rigs("L24")
    ids = track(rig.client(flusher="auto" if lives else "external"), 1)
    if not lives:
        assert rig.client().drain(20).complete
    rig.server.wait_for(1)
    rig.server.rotate_key(NEW, keep_old=True)
    rig.server.accounts.organization_id = "org_other"
    theirs = rig.client(api_key=NEW, flusher="auto" if lives else "external")
    ids += track(theirs, 1)
    if not lives:
        assert "another organisation" in (theirs.drain(20).reason or "")

    def is_refused() -> bool:
        theirs._tracker.look_now()
        try:
            rig.client(api_key=NEW)
        except ConfigurationError as error:
            return "another organisation" in str(error)
        return False

    wait_until(is_refused, "the server's word to be known")
    assert rig.client().drain(20).delivered == 0
    assert rig.check(ids).pending == 1


def test_which_server_it_is_is_asked_again_when_it_could_not_be_and_events_arrive(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L24", faults=Faults(script=[Status(503)] * 2))
    ids = track(rig.client(), 3)
    rig.flush_until(lambda: os.path.exists(rig.directory.books) and read_learned(rig.directory.books, "generation"))
    assert rig.check(ids).delivered == 3


@pytest.mark.parametrize("flusher", ["auto", "external"])
@pytest.mark.parametrize(("before", "after"), [("L22", "L24"), ("L24", "L22")])
def test_a_server_that_was_replaced_by_one_of_the_other_kind_is_known_as_that_after_its_first_answer(
    rigs: Callable[..., Rig], before: Generation, after: Generation, flusher: str
) -> None:
    rig = rigs(before)
    client = rig.client(flusher=flusher, max_batch_events=50)
    track(client, 1)
    assert client.drain(20).complete
    rig.server.stop()
    with FakeLotus(after, port=rig.server.port, faults=Faults(rates={Slow(0.02): 1.0}, path=TRACK)) as replaced:
        ids = track(client, 2000)
        assert client.drain(60).complete
        assert replaced.database == set(ids)
        assert read_learned(rig.directory.books, "generation") == f"20{after[1:]}"
        rig.stop()
    assert rig.stats().delivered == 2001


def test_behind_a_gateway_that_refused_the_key_for_a_while_the_server_of_2022_gets_one_request_at_a_time(
    rigs: Callable[..., Rig],
) -> None:
    refusal = Status(403, '{"detail": "Not authenticated"}', "application/json")
    rig = rigs("L22", faults=Faults(rates={refusal: 1.0}))
    client = rig.client(flusher="auto", max_batch_events=50)
    ids = track(client, 2000)
    assert "Not authenticated" in (client.drain(20).reason or "")
    rig.server.faults = Faults(rates={Slow(0.02): 1.0}, path=TRACK)
    assert client.drain(60).complete
    assert rig.check(ids).delivered == 2000
    assert rig.server.database == set(ids)


@GENERATIONS
def test_a_flusher_with_their_own_key_sends_them(rigs: Callable[..., Rig], generation: str) -> None:
    rig, old, new, ids = rotated(rigs, generation)
    ours = track(new, 3)
    new.drain(20)
    assert old.drain(20).delivered == 5
    assert rig.check(ids + ours).delivered == 8


def test_where_the_server_says_that_both_keys_are_one_organisations_rotation_goes_on_by_itself(
    rigs: Callable[..., Rig],
) -> None:
    rig, old, new, ids = rotated(rigs, "L24")
    assert old.drain(20).complete
    ids += track(old, 5)
    ids += track(new, 5)
    assert new.drain(20).complete
    assert rig.check(ids).delivered == 15


def test_a_key_that_is_replaced_in_the_file_that_the_flusher_reads_takes_over_what_was_tracked_before(
    rigs: Callable[..., Rig], tmp_path: Path
) -> None:
    rig = rigs("L22")
    file = tmp_path / "key"
    file.write_text("test-key")
    client = rig.client(api_key=None, api_key_file=file, flusher="auto")
    ids = track(client, 1)
    rig.server.wait_for(1)
    rig.server.rotate_key(NEW)
    ids += track(client, 3)  # under the key that this process has read
    file.write_text(NEW)
    rig.server.wait_for(4)
    ids += track(client, 3)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 7


@GENERATIONS
def test_what_was_tracked_without_a_key_is_sent_with_whichever_the_flusher_has(
    rigs: Callable[..., Rig], generation: str
) -> None:
    rig = rigs(generation)
    ids = track(rig.client(api_key=None), 3)
    client = rig.client()
    ids += track(client, 3)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 6


def test_parked_events_are_tried_again_only_under_their_own_key(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L22", customers=["c1"])
    rig.server.rotate_key(NEW, keep_old=True)
    old, new = rig.client(), rig.client(api_key=NEW)
    ids = track(old, 3, customer_id="late")
    assert old.drain(20).parked == 3
    rig.server.add_customer("late")
    assert new.drain(20).parked == 3
    assert old.drain(20).delivered == 3
    assert rig.check(ids).delivered == 3


def test_events_of_another_key_in_the_database_are_parked_and_block_no_other(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L22")
    rig.server.rotate_key(NEW, keep_old=True)
    old, new = rig.client(backend="sqlite"), rig.client(api_key=NEW, backend="sqlite")
    ids: list[str] = []
    for _ in range(3):
        ids += track(old, 2)
        ids += track(new, 2)
    report = new.drain(20)
    assert (report.delivered, report.parked, report.remaining) == (6, 6, 0)
    assert "6 events tracked under another API key wait" in (report.reason or "")
    assert old.drain(20).delivered == 6
    assert rig.check(ids).delivered == 12


def test_no_batch_holds_events_of_two_keys(rigs: Callable[..., Rig]) -> None:
    rig, old, new, ids = rotated(rigs, "L24")
    assert old.drain(20).complete
    ids += track(old, 5) + track(new, 5)
    assert new.drain(20).complete
    assert [len(batch) for batch in rig.batches()] == [5, 5, 5]
    rig.check(ids)


def test_a_flusher_that_has_only_another_keys_events_left_ends(rigs: Callable[..., Rig]) -> None:
    rig, _, _, ids = rotated(rigs, "L22")
    new = rig.client(api_key=NEW, flusher="auto", idle_before_end=0.1)
    ids += track(new, 1)
    rig.server.wait_for(1)
    rig.server.wait_until(lambda: not rig.is_flushed(), 20, what="the flusher to end")
    assert rig.check(ids).pending == 5


def test_damage_among_another_keys_events_settles_none_of_them(rigs: Callable[..., Rig]) -> None:
    rig, _, new, ids = rotated(rigs, "L22")
    rig.stop()
    [name] = rig.directory.segments()
    path = Path(rig.directory.journal) / name
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    path.write_bytes(content)
    assert not new.drain(20).complete
    assert os.path.exists(path)
    assert not set(ids) & set(rig.server.times_received)
    rig.server.faults = faults()
    assert rig.client().drain(20).complete
    assert len(set(ids) & set(rig.server.times_received)) == 4
