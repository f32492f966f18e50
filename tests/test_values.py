"""Values behave as named tuples do, but no value is equal to one of another class."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from lotus_durable.values import NamedTuple


class Place(NamedTuple):
    name: str
    offset: int = 0
    sequence: int = 0

    @property
    def is_beginning(self) -> bool:
        return self.offset == 0


class Other(NamedTuple):
    name: str
    offset: int = 0
    sequence: int = 0


def test_a_value_is_made_of_its_fields_by_position_or_name_with_their_defaults() -> None:
    assert Place("a") == Place(name="a") == Place("a", 0, 0) == Place._make(["a", 0, 0])
    assert tuple(Place("a", sequence=3)) == ("a", 0, 3)
    assert repr(Place("a", 1)) == "Place(name='a', offset=1, sequence=0)"
    assert Place("a").is_beginning
    assert Place("a", 1)._asdict() == {"name": "a", "offset": 1, "sequence": 0}
    assert Place("a", 1)._replace(offset=2) == Place("a", 2)


@pytest.mark.parametrize(
    "wrong",
    [
        Place,
        lambda: Place("a", 1, 2, 3),  # type: ignore[call-arg]
        lambda: Place("a", name="b"),  # type: ignore[misc]
        lambda: Place("a", size=1),  # type: ignore[call-arg]
        lambda: Place._make(["a", 1]),
    ],
)
def test_a_value_with_other_fields_is_refused(wrong: Callable[[], Place]) -> None:
    with pytest.raises(TypeError, match="Place"):
        wrong()


def test_a_value_does_not_change() -> None:
    place = Place("a")
    for name in ("name", "size"):
        with pytest.raises(AttributeError):
            setattr(place, name, "b")


def test_a_value_is_equal_to_none_of_another_class() -> None:
    places: list[object] = [Place("a"), Other("a"), ("a", 0, 0)]
    assert [first == second for first in places[:2] for second in places] == [True, False, False, False, True, False]
    assert Place("a") != Place("b")
    assert len({Place("a"), Place("a"), Other("a")}) == 2


def test_a_value_can_be_copied_and_sent_to_another_process() -> None:
    place = Place("a", 1)
    assert copy.deepcopy(place) == pickle.loads(pickle.dumps(place)) == place
