"""Objects with code of their own: whatever it does, the caller of track_event sees InvalidEvent or nothing."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.properties import clean_properties

from .test_properties import cleaned

ROOM = 32_768


def hostile(method: str, error: type[BaseException], *bases: type) -> Any:
    """An object of a class derived from ``bases`` whose ``method`` raises ``error``."""

    def fail(*_: object) -> object:
        raise error(method)

    kind = type("Hostile", bases, {method: property(fail) if method in {"__class__", "year"} else fail})
    return kind(2024, 2, 19) if datetime in bases else kind()


HOSTILE = [
    ("__iter__", (list,)),
    ("__iter__", (tuple,)),
    ("__iter__", (set,)),
    ("items", (dict,)),
    ("items", (UserDict,)),
    ("year", (datetime,)),
]


@pytest.mark.parametrize(("method", "bases"), HOSTILE)
@pytest.mark.parametrize("error", [RuntimeError, TypeError, RecursionError, UnicodeEncodeError, StopIteration])
def test_what_a_values_own_code_raises_becomes_the_cause_of_a_refusal(
    method: str, bases: tuple[type, ...], error: type[Exception]
) -> None:
    value = hostile(method, error, *bases)
    with pytest.raises(InvalidEvent) as caught:
        clean_properties({"a": [value]}, ROOM)
    assert caught.value.field == "properties.a[0]"
    assert isinstance(caught.value.__cause__, error | TypeError)  # UnicodeEncodeError needs five arguments


@pytest.mark.parametrize(("method", "bases"), HOSTILE)
def test_an_interrupt_is_not_swallowed(method: str, bases: tuple[type, ...]) -> None:
    value = hostile(method, KeyboardInterrupt, *bases)
    with pytest.raises(KeyboardInterrupt):
        clean_properties({"a": [value]}, ROOM)


@pytest.mark.parametrize("method", ["__str__", "__repr__", "__float__", "__int__", "__len__", "__hash__", "__bool__"])
@pytest.mark.parametrize("base", [str, int, float, Decimal])
def test_code_a_value_overrides_is_not_asked_for_what_its_base_class_knows(method: str, base: type) -> None:
    assert cleaned(hostile(method, RuntimeError, base)) == base()


def test_properties_that_fail_themselves_are_refused_as_properties() -> None:
    with pytest.raises(InvalidEvent, match=r"^properties: cannot be read: ZeroDivisionError$"):
        clean_properties(hostile("items", ZeroDivisionError, dict), ROOM)


def test_what_an_object_says_its_class_is_does_not_matter() -> None:
    with pytest.raises(InvalidEvent, match=r"^properties\.value: is of type Hostile"):
        cleaned(hostile("__class__", ZeroDivisionError))
    with pytest.raises(InvalidEvent, match=r"^properties: must be a mapping"):
        clean_properties(hostile("__class__", ZeroDivisionError), ROOM)


def test_items_that_are_no_pairs_are_refused() -> None:
    class Odd(dict[str, object]):
        def items(self) -> Any:
            return [("a", 1, 2)]

    with pytest.raises(InvalidEvent, match=r"^properties\.a: cannot be read: ValueError$"):
        clean_properties({"a": Odd()}, ROOM)


def test_a_type_that_will_not_tell_its_name_is_refused_all_the_same() -> None:
    class Nameless(type):
        def __getattribute__(cls, name: str) -> Any:
            if name == "__name__":
                raise RuntimeError(name)
            return super().__getattribute__(name)

    class Thing(metaclass=Nameless):
        pass

    with pytest.raises(InvalidEvent, match=r"something without a type name"):
        cleaned(Thing())


@pytest.mark.parametrize("pretended", [str, int, float, Decimal, datetime, date, UUID, Enum, dict, list, Mapping])
def test_an_object_that_only_pretends_its_class_is_refused(pretended: type) -> None:
    with pytest.raises(InvalidEvent, match=r"^properties\.value: is of type MagicMock"):
        cleaned(MagicMock(spec=pretended))


def test_an_enum_whose_value_is_an_enum_is_refused() -> None:
    class Inner(Enum):
        VALUE = 1

    class Outer(Enum):
        INNER = Inner.VALUE

    with pytest.raises(InvalidEvent, match=r"properties\.value: is an Enum whose value is an Enum"):
        cleaned(Outer.INNER)
