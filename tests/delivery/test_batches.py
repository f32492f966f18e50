"""What goes into one request: limits by count, bytes and time, order, and how many requests are in flight."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from lotus_durable.delivery import batch as batch_module
from lotus_durable.delivery import loop
from lotus_durable.delivery.batch import Batch
from lotus_durable.delivery.batching import Batcher, batches_of_parked
from lotus_durable.delivery.lotus import Lotus
from lotus_durable.delivery.outcome import Verdict
from lotus_durable.delivery.wire import encode_events
from lotus_durable.http.connection import Exchange
from lotus_durable.queue.identity import NO_KEY
from lotus_durable.queue.protocol import StoredEvent
from lotus_durable.queue.reader import Chunk, Damage
from lotus_durable.testing import Status
from lotus_durable.testing.exchange import ReceivedRequest
from tests.rig import TRACK, Rig, record, track


@dataclass
class FakePlace:
    """Takes so much in one batch."""

    max_bytes: int = 475_000
    takes_repeats: bool = True
    max_events: int = 10_000

    def encode(self, records: Sequence[bytes]) -> tuple[Sequence[str], Sequence[str], Sequence[bytes]]:
        return encode_events(records)

    def deliver(self, batch: Batch) -> Generator[None, None, list[Verdict]]:
        raise NotImplementedError

    def may_be_in_flight(self, since: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class FakeConsumer:
    """Gives prepared chunks, then the end of a pass."""

    def __init__(self, *chunks: Chunk, delivered: Iterable[str] = ()) -> None:
        self._chunks: list[Chunk | None] = [*chunks]
        self._delivered = set(delivered)

    def read(self, limit: int) -> Chunk | None:
        assert limit > 0
        return self._chunks.pop(0) if self._chunks else None

    def was_delivered(self, ids: Sequence[str]) -> set[str]:
        return set(ids) & self._delivered


def none_was_delivered(_ids: Sequence[str]) -> set[str]:
    return set()


def chunk(source: str, *records: bytes, start: int = 0) -> Chunk:
    return Chunk(source, records, [(100 * (start + n + 1), start + n + 1) for n in range(len(records))])


def batches(*chunks: Chunk, max_events: int = 500, max_bytes: int = 475_000) -> list[Batch]:
    source: Any = FakeConsumer(*chunks)
    batcher = Batcher(source, FakePlace(max_bytes), max_events=max_events)
    found = []
    while (batch := batcher.next()) is not None:
        found.append(batch)
    return found


def ids(found: Iterable[Batch]) -> list[list[str]]:
    return [batch.ids for batch in found]


def test_while_many_events_are_encoded_others_are_let_run(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[None] = []
    monkeypatch.setattr(batch_module, "_let_others_run", lambda: times.append(None))
    batches(chunk("a", *(record(f"event{number}") for number in range(200))))
    assert len(times) == 4


def test_nothing_gives_no_batch() -> None:
    assert batches() == []


def test_a_batch_holds_at_most_so_many_events_and_settles_exactly_those() -> None:
    found = batches(chunk("s", *(record(f"{n}") for n in range(7))), max_events=3)
    assert ids(found) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert [batch.through for batch in found] == [{"s": (300, 3)}, {"s": (600, 6)}, {"s": (700, 7)}]
    assert [batch.full for batch in found] == [True, True, False]


def test_a_batch_takes_from_several_sources_and_settles_each() -> None:
    found = batches(chunk("s", record("a"), record("b")), chunk("t", record("c"), record("d")), max_events=3)
    assert ids(found) == [["a", "b", "c"], ["d"]]
    assert [batch.through for batch in found] == [{"s": (200, 2), "t": (100, 1)}, {"t": (200, 2)}]


@pytest.mark.parametrize("limit", [1024, 1025, 1100, 2048, 5000])
def test_a_body_is_never_larger_than_the_limit(limit: int) -> None:
    found = batches(chunk("s", *(record(f"{n}", properties={"x": "y" * n}) for n in range(100))), max_bytes=limit)
    sizes = [len(batch.body()) for batch in found]
    assert max(sizes) <= limit
    # And none is cut too early: the next event would not have fitted.
    following = [len(batch.part([0]).body()) - len(Batch().body()) for batch in found[1:]]
    assert all(size + 1 + event > limit for size, event in zip(sizes, following, strict=False))


def test_one_event_larger_than_the_limit_goes_alone() -> None:
    found = batches(chunk("s", record("a"), record("big", properties={"x": "y" * 5000}), record("c")), max_bytes=1024)
    assert ids(found) == [["a"], ["big"], ["c"]]


def test_the_same_id_is_never_twice_in_one_batch() -> None:
    found = batches(chunk("s", *(record(each) for each in "abcabb")), chunk("t", record("b"), record("d")))
    assert ids(found) == [["a", "b", "c"], ["a", "b"], ["b"], ["b", "d"]]
    assert found[2].through == {"s": (600, 6)}


class PlaceWithoutIds(FakePlace):
    """Asks for no ids."""

    def encode(self, records: Sequence[bytes]) -> tuple[list[str], list[str], Sequence[bytes]]:
        return [""] * len(records), [""] * len(records), records


def test_where_the_place_asks_for_no_ids_the_same_one_may_be_twice_in_one_batch() -> None:
    records = [record(each) for each in "abcabb"]
    source: Any = FakeConsumer(chunk("s", *records))
    batcher = Batcher(source, PlaceWithoutIds(), max_events=5)
    first, second = batcher.next(), batcher.next()
    assert first is not None
    assert second is not None
    assert first.records + second.records == records
    assert len(first) == 5
    rows = [parked(number, each) for number, each in enumerate(records)]
    [batch] = batches_of_parked(rows, PlaceWithoutIds(), none_was_delivered)
    assert batch.rows == rows


@pytest.mark.parametrize("max_events", [1, 2, 500])
def test_what_was_delivered_lately_is_settled_and_not_sent_where_that_is_to_be_so(max_events: int) -> None:
    chunks = chunk("s", *(record(each) for each in "abacad")), chunk("t", record("a"))
    place = FakePlace(takes_repeats=False)
    source: Any = FakeConsumer(*chunks, delivered="a")
    batcher = Batcher(source, place, max_events=max_events)
    found = []
    while (batch := batcher.next()) is not None:
        found.append(batch)
    assert [each for batch in found for each in batch.ids] == ["b", "c", "d"]
    assert sum(batch.repeats for batch in found) == 4
    assert max(len(batch) for batch in found) <= max_events
    last = {source: position for batch in found for source, position in batch.through.items()}
    assert last == {"s": (600, 6), "t": (100, 1)}


def test_what_is_no_record_is_dead_and_settled_with_its_neighbours() -> None:
    [batch] = batches(chunk("s", record("a"), b"\xc1", record("b")))
    assert batch.ids == ["a", "b"]
    [dead] = batch.dead
    assert (dead.record, dead.attempts) == (b"\xc1", 0)
    assert dead.reason.startswith("the record is not msgpack")
    assert batch.through == {"s": (300, 3)}


def test_a_batch_of_nothing_but_what_is_no_record_still_settles() -> None:
    [batch] = batches(chunk("s", b"", b"\xc0"))
    assert (len(batch), len(batch.dead), batch.through) == (0, 2, {"s": (200, 2)})


def test_one_event_that_cannot_be_sent_hides_none_of_those_it_is_encoded_with() -> None:
    records = [record(f"{number}") for number in range(120)]
    records[60] = b"\xc1"
    [batch] = batches(chunk("s", *records))
    assert batch.ids == [f"{number}" for number in range(120) if number != 60]
    assert [event["idempotency_id"] for event in json.loads(batch.body())["batch"]] == batch.ids
    assert [event.record for event in batch.dead] == [b"\xc1"]
    assert batch.through == {"s": (12_000, 120)}


def test_damage_is_as_many_dead_events_as_it_held() -> None:
    damage = Chunk("s", [], [(500, 5)], Damage("s", 100, b"xxxx", 3))
    [batch] = batches(chunk("s", record("a")), damage, chunk("s", record("b"), start=5))
    assert batch.ids == ["a", "b"]
    assert [event.record for event in batch.dead] == [b"", b"", b""]
    assert batch.through == {"s": (600, 6)}


def test_damage_that_held_no_event_is_settled_and_counts_as_none() -> None:
    [batch] = batches(Chunk("s", [], [(500, 4)], Damage("s", 100, b"xx", 0)))
    assert (len(batch), batch.dead, batch.through) == (0, [], {"s": (500, 4)})


def parked(number: int, packed: bytes, key: bytes = NO_KEY) -> StoredEvent:
    return StoredEvent(packed, "reason", 1, 1.0, 2.0, number, key)


def test_parked_events_of_one_batch_were_tracked_under_one_key() -> None:
    keys = [b"one", b"two", b"one"]
    rows = [parked(number, record(f"{number}"), key) for number, key in enumerate(keys)]
    found = list(batches_of_parked(rows, FakePlace(), none_was_delivered))
    assert [(batch.key, batch.rows) for batch in found] == [(b"one", [rows[0], rows[2]]), (b"two", rows[1:2])]


def test_parked_events_come_with_the_rows_they_settle() -> None:
    rows = [parked(1, record("a")), parked(2, record("b")), parked(3, record("a")), parked(4, b"\xc1")]
    found = list(batches_of_parked(rows, FakePlace(), none_was_delivered))
    assert ids(found) == [["a", "b"], ["a"]]
    assert [batch.rows for batch in found] == [rows[:2], rows[2:3]]
    assert sorted(row.id for batch in found for row in batch.resolved) == [1, 2, 3, 4]
    assert [event.record for batch in found for event in batch.dead] == [b"\xc1"]
    assert all(not batch.through for batch in found)


def test_parked_events_that_were_delivered_lately_are_settled_and_not_sent_where_that_is_to_be_so() -> None:
    rows = [parked(1, record("a")), parked(2, record("b")), parked(3, record("b")), parked(4, record("c"))]
    delivered = {"a"}
    found = []
    for batch in batches_of_parked(rows, FakePlace(takes_repeats=False), delivered.intersection):
        found.append(batch)
        delivered.update(batch.ids)
    assert ids(found) == [["b", "c"], []]
    assert [batch.repeats for batch in found] == [1, 1]
    assert [batch.rows for batch in found] == [[rows[1], rows[3]], []]
    assert sorted(row.id for batch in found for row in batch.resolved) == [1, 2, 3, 4]


def test_parked_events_keep_to_the_limit_of_bytes_too() -> None:
    rows = [parked(n, record(f"{n}", properties={"x": "y" * 400})) for n in range(20)]
    rows.insert(3, parked(99, record("big", properties={"x": "y" * 3000})))
    found = list(batches_of_parked(rows, FakePlace(1200), none_was_delivered))
    assert all(len(batch) == 1 or len(batch.body()) <= 1200 for batch in found)
    assert sorted(row.id for batch in found for row in batch.resolved) == [*range(20), 99]


def test_events_wait_for_others_to_share_a_request_with(rig: Rig) -> None:
    """Not one request for each event, though each of them was there before the next was tracked."""
    client = rig.client(flusher="auto", flush_interval=0.2)
    accepted = track(client, 1)
    rig.server.wait_for(1)
    before = len(rig.posts)
    accepted += [each for _ in range(50) for each in track(client, 1)]
    rig.server.wait_for(51)
    assert len(rig.posts) - before <= 10
    assert rig.check(accepted).delivered == 51


@pytest.fixture
def in_flight(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests were under way whenever one began."""
    counts: list[int] = []
    under_way: list[int] = []
    posting = Lotus.posting

    def counted(self: Lotus, data: bytes) -> Exchange:
        under_way.append(1)
        counts.append(len(under_way))
        try:
            return (yield from posting(self, data))
        finally:
            under_way.pop()

    monkeypatch.setattr(Lotus, "posting", counted)
    return counts


def test_by_default_never_two_requests_are_in_flight_to_the_server_of_2022(
    rigs: Callable[..., Rig], in_flight: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loses acknowledged events otherwise."""
    monkeypatch.setattr(loop, "_LONG_WAIT", -1.0)
    rig = rigs("L22")
    clients = [rig.client(max_batch_events=3) for _ in range(4)]
    accepted = [each for client in clients * 5 for each in track(client, 5)]
    assert clients[0].drain(20).complete
    assert rig.check(accepted).delivered == 100
    assert max(in_flight) == 1
    assert len(in_flight) >= 30


def test_to_the_server_of_2024_up_to_four_are_in_flight_while_its_answers_are_slow(
    rig: Rig, in_flight: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_LONG_WAIT", -1.0)
    client = rig.client(max_batch_events=5)
    accepted = track(client, 100)
    assert client.drain(20).complete
    assert rig.check(accepted).delivered == 100
    assert max(in_flight) == 4


def test_several_requests_are_in_flight_when_asked_for_and_each_is_committed(
    rigs: Callable[..., Rig], in_flight: list[int]
) -> None:
    together = threading.Barrier(4, timeout=20)
    wait_for_all = [True]

    def hold(request: ReceivedRequest) -> None:
        if wait_for_all[0] and request.path == TRACK:
            together.wait()

    rig = rigs(on_request=hold)
    client = rig.client(upload_concurrency=4, max_batch_events=5)
    accepted = track(client, 5 * 4 * 3)
    report = client.drain(20)
    wait_for_all[0] = False
    assert report.complete
    assert max(in_flight) == 4
    assert rig.check(accepted).delivered == 60


def test_with_several_requests_in_flight_one_that_fails_holds_no_other_up_and_nothing_is_lost(rig: Rig) -> None:
    rig.server.fail_next(*[None, Status(503), Status(500), None, Status(408)] * 10)
    client = rig.client(upload_concurrency=4, max_batch_events=5)
    accepted = track(client, 300)
    assert client.drain(20).complete
    assert client.drain(20).parked == 0, "one that met only faults was parked, and is tried again"
    stats = rig.check(accepted)
    assert (stats.delivered, rig.server.duplicates) == (300, 0)
