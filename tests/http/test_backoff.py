"""How long to wait before the same batch goes out again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.http.backoff import Backoff


def test_the_longest_wait_doubles_from_half_a_second_to_a_minute() -> None:
    backoff = Backoff(chance=lambda: 1.0)
    assert [backoff.failed() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_wait_is_a_random_part_of_the_longest() -> None:
    parts = iter([0.0, 0.5, 0.25])
    backoff = Backoff(chance=lambda: next(parts))
    assert [backoff.failed() for _ in range(3)] == [0.0, 0.5, 0.5]


def test_a_success_starts_again_from_the_shortest_wait() -> None:
    backoff = Backoff(chance=lambda: 1.0)
    for _ in range(20):
        backoff.failed()
    assert backoff.failures == 20
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.failed() == 0.5


def test_what_the_server_asked_for_is_waited_at_least() -> None:
    backoff = Backoff(chance=lambda: 0.0)
    assert backoff.failed(at_least=120.0) == 120.0
    assert backoff.failed(at_least=0.0) == 0.0


def test_hosts_that_were_told_the_same_wait_do_not_come_back_in_step() -> None:
    early, late = Backoff(chance=lambda: 0.1), Backoff(chance=lambda: 0.9)
    assert early.failed(at_least=30.0) < late.failed(at_least=30.0)


def test_the_real_chance_varies() -> None:
    assert len({Backoff().failed() for _ in range(10)}) > 1


@pytest.mark.parametrize("base", [0.1, 5.0, 90.0])
def test_no_wait_is_longer_than_the_cap(base: float) -> None:
    backoff = Backoff(base=base, cap=7.0, chance=lambda: 1.0)
    assert max(backoff.failed() for _ in range(2_000)) == 7.0


@given(failures=st.lists(st.tuples(st.floats(0, 1), st.floats(-10, 3_600)), min_size=1, max_size=40))
def test_a_wait_is_between_its_floor_and_its_floor_plus_the_cap(failures: list[tuple[float, float]]) -> None:
    chances = iter([chance for chance, _ in failures])
    backoff = Backoff(chance=lambda: next(chances))
    for number, (_, at_least) in enumerate(failures):
        floor = max(at_least, 0.0)
        assert floor <= backoff.failed(at_least=at_least) <= floor + min(60.0, 0.5 * 2**number)
