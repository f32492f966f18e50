"""The queue's own clock."""

from __future__ import annotations

import time

import pytest

from lotus_durable import clock
from lotus_durable.queue import elapsed
from lotus_durable.queue.elapsed import QueueClock

DAY = 86_400.0


class Machine:
    """Clocks that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.boot, self.boot_id = 1_700_000_000.0, 1_000.0, "one"
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(elapsed, "since_boot", lambda: self.boot)
        monkeypatch.setattr(elapsed, "boot_id", lambda: self.boot_id)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    assert clock.since_boot() > 0
    return Machine(monkeypatch)


def test_it_goes_on_while_somebody_flushes_and_between_two_flushers(machine: Machine) -> None:
    first = QueueClock(None)
    began = first.now()
    assert began > 0
    machine.passes(5)
    kept = first.as_text()
    machine.passes(DAY)
    assert QueueClock(kept).now() == pytest.approx(began + 5 + DAY)


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
def test_no_wall_clock_moves_it(machine: Machine, days: float) -> None:
    first = QueueClock(None)
    began = first.now()
    machine.wall += days * DAY
    machine.passes(5)
    assert first.now() == pytest.approx(began + 5)
    kept = first.as_text()
    machine.wall -= days * DAY
    machine.passes(1)
    assert began + 5 <= QueueClock(kept).now() <= began + 6.01


def test_what_lies_between_two_boots_is_not_counted(machine: Machine) -> None:
    first = QueueClock(None)
    kept = first.as_text()
    machine.wall += 10 * DAY
    machine.boot, machine.boot_id = 3 * DAY, "two"
    assert QueueClock(kept).now() == pytest.approx(float(kept.split()[0]))


def test_a_container_with_a_boot_clock_of_its_own_adds_no_more_than_the_wall_clock(machine: Machine) -> None:
    kept = QueueClock(None).as_text()
    machine.boot += 30 * DAY
    machine.wall += 7
    assert QueueClock(kept).now() == pytest.approx(float(kept.split()[0]) + 7)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("text", ["", "x", "1 2", "1 2 3 4 5"])
def test_what_cannot_be_read_begins_anew(text: str) -> None:
    assert QueueClock(text).now() == pytest.approx(QueueClock(None).now())
