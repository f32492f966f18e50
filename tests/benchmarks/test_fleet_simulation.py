"""The simulated fleet comes to what can be reckoned by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fleet import EVENTS_PER_HOST, MEASURED, flush_interval, messages_a_second, simulate
from benchmarks.fleet_simulation import measure, sizing
from benchmarks.plots import draw

_HOUR = 3_600


def test_what_an_hour_s_outage_leaves_in_the_broker_is_what_was_tracked_in_it() -> None:
    seen = simulate("L22", 100, relay=True, end=4_300)
    assert seen.depth == pytest.approx(100 * EVENTS_PER_HOST * _HOUR, rel=0.02)
    assert seen.at_once == 1


def test_it_is_caught_up_as_soon_as_one_request_after_the_other_can() -> None:
    backlog = 1_000 * EVENTS_PER_HOST * _HOUR
    a_second = 500 / MEASURED["L22"].of(500) - 1_000 * EVENTS_PER_HOST
    seen = simulate("L22", 1_000, relay=True, end=4_300)
    assert seen.caught_up == pytest.approx(backlog / a_second, abs=2)


def test_a_relay_for_which_lotus_is_too_slow_never_catches_up() -> None:
    assert simulate("L22", 10_000, relay=True, slower=100.0, end=4_300).caught_up is None


def test_hosts_by_themselves_lose_what_is_on_the_disks_that_go_and_meet_at_lotus() -> None:
    seen = simulate("L22", 100, relay=False, end=4_400)
    # Each disk goes between 20 and 30 minutes after the outage began.
    assert seen.died == pytest.approx(100 * EVENTS_PER_HOST * 1_500, rel=0.05)
    assert seen.at_once > 1
    assert seen.caught_up is not None


def test_requests_that_nobody_waits_for_any_more_are_worked_on_all_the_same() -> None:
    assert simulate("L24", 1_000, relay=False, slower=300.0, end=300).given_up > 0


def test_more_hosts_collect_for_longer_so_that_the_broker_can_take_their_messages() -> None:
    assert flush_interval(10) == 0.5
    assert messages_a_second(100_000, 1000.0) == pytest.approx(8_000, rel=0.01)


def test_the_table_has_a_row_for_each_size_and_server_and_the_plot_a_line(tmp_path: Path) -> None:
    table, lines = sizing([1_000], end=700)
    assert [row[:2] for row in table.rows] == [["1,000", "L22"], ["1,000", "L24"]]
    assert all(len(row) == len(table.columns) for row in table.rows)
    pytest.importorskip("matplotlib")
    assert draw({"scenarios": {"fleet": {"series": {"outage": lines}}}}, tmp_path)[0].stat().st_size > 10_000


def test_how_long_a_request_takes_is_measured_at_a_server() -> None:
    assert measure("L24", tries=2).of(500) > 0
