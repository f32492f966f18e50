"""Several batches on their way, by one thread: what is started is finished, and settled in its order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from lotus_durable.config import Config
from lotus_durable.delivery import loop as loop_module
from lotus_durable.delivery.batch import Batch
from lotus_durable.delivery.control import Stopped
from lotus_durable.delivery.loop import Loop
from lotus_durable.delivery.outcome import Delivered, Verdict
from lotus_durable.delivery.wire import encode_events
from lotus_durable.queue.heartbeat import Progress
from lotus_durable.queue.protocol import Settlement, StoredEvent
from lotus_durable.queue.reader import Chunk
from tests.rig import record

_BATCH = 5


class Source:
    """So many batches of one segment."""

    in_doubt_since = None
    is_short = may_repeat = False
    rows_at_once = 1

    def __init__(self, batches: int) -> None:
        self.told: list[str] = []
        self._chunks: list[Chunk | None] = [
            Chunk("s", [record(f"{n}-{i}") for i in range(_BATCH)], [(0, n * _BATCH + i + 1) for i in range(_BATCH)])
            for n in range(batches)
        ]
        self.settled: list[int] = []

    def read(self, limit: int) -> Chunk | None:
        assert limit
        self.told.append("read")
        return self._chunks.pop(0) if self._chunks else None

    def was_delivered(self, _: Iterable[str]) -> set[str]:
        return set()

    def settle(self, settlement: Settlement) -> None:
        self.settled.append(settlement.through["s"][1])

    def progress(self) -> Progress:
        return Progress()

    def page(self, *_: object) -> list[Any]:
        return []

    def last_parked(self) -> int:
        return 0

    def left_alone(self) -> tuple[int, str | None]:
        return 0, None

    def elapsed(self) -> float:
        return 0.0

    def learned(self, _: str) -> None:
        return None

    def learn(self, *_: str) -> None: ...

    def caught_up(self) -> None: ...

    def retire(self) -> None: ...


class Control:
    """Is asked for nothing."""

    def check(self) -> None: ...

    def asked(self) -> int:
        return 0

    def __getattr__(self, _: str) -> Callable[..., Any]:
        return lambda *_, **__: nullcontext()


class Place:
    """Answers, and counts how many of its kind wait for an answer."""

    max_bytes, max_events, takes_repeats = 475_000, 10_000, True
    encode = staticmethod(encode_events)

    def __init__(self, in_flight: list[Place], most: list[int], **fault: Exception) -> None:
        self._in_flight, self._most, self._fault = in_flight, most, fault
        self.told: list[str] | None = None

    def deliver(self, batch: Batch) -> Generator[None, None, Sequence[Verdict]]:
        if "start" in self._fault:
            raise self._fault["start"]
        self._in_flight.append(self)
        self._most.append(len(self._in_flight))
        if self.told is not None:
            self.told.append("sent")
        yield
        self._in_flight.remove(self)
        if "answer" in self._fault:
            raise self._fault["answer"]
        return [Delivered()] * len(batch)

    def may_be_in_flight(self, since: float) -> None: ...

    def close(self) -> None: ...


def made(source: Source, places: Sequence[Place], **options: Any) -> Loop:
    config = Config("/nowhere", max_batch_events=_BATCH, **options)
    return Loop(source, Control(), places, config)  # type: ignore[arg-type]  # as much of both as is used


def test_a_start_that_fails_leaves_no_request_behind_and_what_was_sent_before_is_settled() -> None:
    in_flight: list[Place] = []
    source = Source(6)
    # The last place is taken first.
    places = [Place(in_flight, []), Place(in_flight, [], start=RuntimeError("no more")), Place(in_flight, [])]
    with pytest.raises(RuntimeError, match="no more"):
        made(source, places, upload_concurrency=3).run(lambda: True)
    assert in_flight == []
    assert source.settled == [_BATCH]


def test_a_disk_that_cannot_be_read_leaves_no_request_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    in_flight: list[Place] = []
    source = Source(6)
    read = source.read

    def read_or_fail(limit: int) -> Chunk | None:
        if len(source.told) == 2:
            raise OSError("the disk")
        return read(limit)

    monkeypatch.setattr(source, "read", read_or_fail)
    with pytest.raises(OSError, match="the disk"):
        made(source, [Place(in_flight, []) for _ in range(4)], upload_concurrency=4).run(lambda: True)
    assert in_flight == []
    assert source.settled == [_BATCH]


def test_nothing_is_settled_behind_a_batch_without_verdicts_and_yet_no_request_is_left() -> None:
    in_flight: list[Place] = []
    source = Source(6)
    places = [Place(in_flight, []), Place(in_flight, []), Place(in_flight, [], answer=Stopped("now"))]
    with pytest.raises(Stopped, match="now"):
        made(source, places, upload_concurrency=3).run(lambda: True)
    assert in_flight == []
    assert source.settled == []


@pytest.mark.parametrize(("long_wait", "most"), [(-1.0, 4), (float("inf"), 1)])
def test_more_than_one_is_on_its_way_only_while_a_backlog_waits_for_slow_answers(
    monkeypatch: pytest.MonkeyPatch, long_wait: float, most: int
) -> None:
    monkeypatch.setattr(loop_module, "_LONG_WAIT", long_wait)
    in_flight: list[Place] = []
    at_once: list[int] = []
    source = Source(20)
    made(source, [Place(in_flight, at_once) for _ in range(4)]).run(lambda: True)
    assert source.settled == [_BATCH * (number + 1) for number in range(20)]
    assert at_once[0] == 1
    assert max(at_once) == most


def test_after_a_request_that_had_to_be_repeated_only_one_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_LONG_WAIT", -1.0)
    in_flight: list[Place] = []
    at_once: list[int] = []

    class Repeating(Place):
        def deliver(self, batch: Batch) -> Generator[None, None, Sequence[Verdict]]:
            verdicts = yield from super().deliver(batch)
            yield
            return verdicts

    source = Source(20)
    made(source, [Repeating(in_flight, at_once) for _ in range(4)]).run(lambda: True)
    assert len(source.settled) == 20
    assert max(at_once) == 1


def test_what_is_appended_during_a_pass_is_for_the_next_one_however_many_are_on_their_way() -> None:
    source = Source(12)
    source._chunks.insert(5, None)  # the end of a pass; the rest came meanwhile
    in_flight: list[Place] = []
    made(source, [Place(in_flight, []) for _ in range(4)], upload_concurrency=4).run(lambda: True)
    assert source.settled == [_BATCH * (number + 1) for number in range(5)]


def test_the_next_batch_is_read_while_one_is_in_flight() -> None:
    place = Place([], [])
    source = Source(3)
    place.told = source.told
    made(source, [place]).run(lambda: True)
    assert source.told[:5] == ["read", "read", "sent", "read", "sent"]


class OneParked(Source):
    """A relay that has just become the active one, and has met nothing but a message that it leaves alone."""

    in_doubt_since = 7.0  # type: ignore[assignment]

    def page(self, *where: object) -> list[Any]:
        return [StoredEvent(record("1"), "", 0, 0.0, 0.0, id=1)] if where[1] == 0 else []

    def last_parked(self) -> int:
        return 1

    def settle(self, settlement: Settlement) -> None: ...


class Waiting(Place):
    def may_be_in_flight(self, since: float) -> None:
        assert self.told is not None
        self.told.append(f"waits for what began at {since:g}")


def test_parked_events_too_wait_for_what_another_sender_may_have_in_flight_where_nothing_came_before_them() -> None:
    place = Waiting([], [])
    place.told = []
    made(OneParked(0), [place]).run(lambda: True)
    assert place.told == ["waits for what began at 7", "sent"]
