"""How fast events may go: never more than the limit, and after an outage a slope instead of a step."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lotus_durable.delivery.pace import Pace
from tests.rig import LIMIT, Rig, track


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.trouble = 0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def pace(self, most: int) -> Pace:
        return Pace(most, self.wait, lambda: self.trouble, now=lambda: self.now)


def test_no_more_go_in_a_second_than_the_limit() -> None:
    clock = Clock()
    pace = clock.pace(1000)
    for _ in range(20):
        pace.take(500)
    assert clock.now == 1000.0 + 19 * 0.5, "the first went at once"


def test_who_was_slower_than_the_limit_anyway_does_not_wait_and_saves_nothing_up() -> None:
    clock = Clock()
    pace = clock.pace(1000)
    pace.take(500)
    clock.now += 10.0
    pace.take(500)
    assert clock.now == 1010.0
    pace.take(500)
    assert clock.now == 1010.5


def test_after_an_outage_it_begins_with_a_tenth_and_reaches_the_limit_within_a_minute_or_so() -> None:
    clock = Clock()
    pace = clock.pace(1000)
    pace.take(100)
    clock.trouble += 1
    clock.now += 3600.0
    ended = clock.now
    rates = []
    while clock.now < ended + 70.0:
        before = clock.now
        pace.take(10)
        if clock.now > before:
            rates.append(10 / (clock.now - before))
    assert 99.0 < rates[0] < 102.0
    assert rates == sorted(rates)
    assert 990.0 < rates[-1] <= 1000.1
    assert all(after / before < 1.1 for before, after in pairwise(rates)), "no step"


def test_a_pause_without_trouble_and_a_short_trouble_are_no_outage() -> None:
    clock = Clock()
    pace = clock.pace(1000)
    pace.take(500)
    clock.now += 3600.0
    pace.take(500)
    clock.trouble += 1
    clock.now += 5.0
    pace.take(500)
    before = clock.now
    pace.take(500)
    assert clock.now - before == 0.5


def test_each_batch_asks_before_it_is_sent_where_there_is_a_limit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, int]] = []
    monkeypatch.setattr(Pace, "take", lambda _, events: taken.append((events, len(rig.posts))))
    client = rig.client(max_events_per_second=50, max_batch_events=5, upload_concurrency=1)
    track(client, 12)
    assert client.drain(LIMIT).complete
    assert taken == [(5, 0), (5, 1), (2, 2)]
