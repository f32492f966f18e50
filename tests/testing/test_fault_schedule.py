"""When faults happen: script, rates, poison, and their form in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lotus_durable.testing import (
    NAMED,
    Away,
    Close,
    DatabaseDown,
    Delay,
    Drip,
    Early,
    Fault,
    Faults,
    Interim,
    RateLimited,
    Redirect,
    RefuseEvents,
    Reset,
    Slow,
    Status,
    Truncate,
)

TRACK = "/api/track/"
ONE_OF_EACH: list[Fault] = [
    Status(503, "busy", headers=(("X-A", "b"),), stored=True),
    DatabaseDown(),
    RateLimited(3),
    Redirect("https://x.example/", 302),
    Reset("before_reading"),
    Close("after_storing"),
    Interim((100, 103), early=True),
    Early(403, (102,)),
    Slow(12.5),
    Delay(0.5),
    Drip(0.01),
    Truncate(2),
    RefuseEvents("why", ids=("a", "b"), fraction=0.5),
    Away(1.5),
]


def test_a_script_is_used_one_entry_per_request_and_then_ends() -> None:
    faults = Faults(script=[Status(500), None, Reset()])
    assert faults.left_in_script == 3
    assert [faults.draw(TRACK) for _ in range(4)] == [Status(500), None, Reset(), None]


def test_a_script_can_be_extended() -> None:
    faults = Faults()
    faults.extend([Status(502)])
    assert faults.draw(TRACK) == Status(502)


def test_the_script_comes_before_the_rates() -> None:
    faults = Faults(script=[None], rates={Status(503): 1.0})
    assert [faults.draw(TRACK), faults.draw(TRACK)] == [None, Status(503)]


def test_the_same_seed_draws_the_same_faults() -> None:
    def draws(seed: int) -> list[Fault | None]:
        faults = Faults(rates={Status(503): 0.3, Reset(): 0.3}, seed=seed)
        return [faults.draw(TRACK) for _ in range(100)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)
    assert set(draws(7)) == {None, Status(503), Reset()}


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_rate_is_a_probability(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Faults(rates={Reset(): rate})


def test_other_paths_take_no_part() -> None:
    faults = Faults(script=[Status(500)], path=TRACK)
    assert faults.draw("/api/ping/") is None
    assert faults.draw(TRACK) == Status(500)


def test_everything_survives_the_way_through_json() -> None:
    faults = Faults(
        script=[*ONE_OF_EACH, None],
        rates=dict.fromkeys(ONE_OF_EACH, 0.1),
        poison={"a": Status(500)},
        seed=9,
        path=TRACK,
    )
    again = Faults.from_json(json.loads(json.dumps(faults.as_json())))
    assert again.as_json() == faults.as_json()
    assert [again.draw(TRACK) for _ in ONE_OF_EACH] == ONE_OF_EACH
    assert again.poison == {"a": Status(500)}


def test_faults_with_names_are_told_by_name() -> None:
    faults = Faults.from_json({"script": list(NAMED), "poison": {"a": "closed"}})
    assert [faults.draw(TRACK) for _ in NAMED] == list(NAMED.values())
    assert faults.poison == {"a": Close()}


@pytest.mark.parametrize(
    "value",
    [
        {"script": [{"kind": "Explosion"}]},
        {"script": [{"status": 500}]},
        {"script": [{"kind": "Status", "state": 1}]},
        {"script": ["Status"]},
        {"sead": 1},
        {"poison": []},
    ],
    ids=str,
)
def test_json_that_describes_no_faults_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"kind of fault|description of faults"):
        Faults.from_json(value)
