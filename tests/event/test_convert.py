"""Values of classes JSON does not know, ours and other libraries': what they become, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import MagicMock

import pytest

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.properties import clean_properties

from .encoding import cleaned, refusal

ROOM = 32_768


# numpy --------------------------------------------------------------------------------------------------------------


def numpy_values() -> list[tuple[Any, object]]:
    numpy = pytest.importorskip("numpy")
    return [
        (numpy.float64(0.1), 0.1),
        (numpy.float32(0.5), 0.5),
        (numpy.float16(0.25), 0.25),
        (numpy.int64(-5), -5),
        (numpy.int8(5), 5),
        (numpy.uint64(2**63 - 1), 2**63 - 1),
        (numpy.bool_(True), True),
        (numpy.str_("text"), "text"),
    ]


def test_scalars_of_numpy_become_the_number_bool_or_text_they_are() -> None:
    for given_value, becomes in numpy_values():
        result = cleaned(given_value)
        assert (result, type(result)) == (becomes, type(becomes))


def test_scalars_of_numpy_are_bound_by_the_same_rules() -> None:
    numpy = pytest.importorskip("numpy")
    assert "64 bits" in refusal(numpy.uint64(2**63))
    assert "not a finite number" in refusal(numpy.float32("nan"))
    assert "not a finite number" in refusal(numpy.float64("inf"))
    assert "NUL character" in refusal(numpy.str_("a\0b"))
    assert cleaned(numpy.float32(0.1)) == 0.10000000149011612  # its value, not the digits it is shown with


def test_what_else_numpy_has_is_refused_by_name() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (
        numpy.longdouble(1),
        numpy.complex128(1),
        numpy.datetime64("2024-02-19"),
        numpy.datetime64("2024-02-19T10:11:12.123456789"),
        numpy.timedelta64(5, "ns"),
        numpy.bytes_(b"x"),
        numpy.array([1, 2]),
        numpy.array(5),
    ):
        assert f"is of type {type(value).__name__}, which has no form in JSON" in refusal(value)


# Django -------------------------------------------------------------------------------------------------------------


def test_lazy_text_of_django_is_sent_in_the_language_of_the_call() -> None:
    functional = pytest.importorskip("django.utils.functional")
    language = ["en"]
    lazy_text = functional.lazy(lambda: {"en": "call", "de": "Anruf"}[language[0]], str)
    greeting = lazy_text()
    assert cleaned(greeting) == "call"
    language[0] = "de"
    assert (cleaned(greeting), type(cleaned(greeting))) == ("Anruf", str)


def test_lazy_text_that_cannot_be_sent_is_refused_like_other_text() -> None:
    functional = pytest.importorskip("django.utils.functional")
    assert "NUL character" in refusal(functional.lazy(lambda: "a\0", str)())
    assert "cannot be read: ZeroDivisionError" in refusal(functional.lazy(lambda: str(1 // 0), str)())


# Dataclasses and models ---------------------------------------------------------------------------------------------


class Plan(Enum):
    PRO = "pro"


@dataclass
class Line:
    sku: str
    price: Decimal
    unit: ClassVar[str] = "piece"


@dataclass(frozen=True, slots=True)
class Order:
    lines: list[Line]
    plan: Plan
    placed: datetime
    note: str | None = field(default=None, repr=False)
    seed: InitVar[int] = 0


ORDER = Order([Line("a", Decimal("1.5"))], Plan.PRO, datetime(2024, 2, 19, tzinfo=UTC))
AS_JSON = {
    "lines": [{"sku": "a", "price": 1.5}],
    "plan": "pro",
    "placed": "2024-02-19T00:00:00.000000Z",
    "note": None,
}


def test_a_dataclass_becomes_its_fields() -> None:
    assert cleaned(ORDER) == AS_JSON
    assert clean_properties(ORDER, ROOM) == AS_JSON


def test_a_field_that_cannot_be_sent_is_refused_with_its_path() -> None:
    order = Order([Line("a", Decimal(0)), Line("b", Decimal("1E-400"))], Plan.PRO, datetime(2024, 2, 19, tzinfo=UTC))
    assert refusal(order).startswith("properties.a[3].b.lines[1].price: is too close to zero")
    with pytest.raises(InvalidEvent, match=r"^properties\.lines\[1\]\.price: "):
        clean_properties(order, ROOM)


def test_a_dataclass_without_a_value_for_a_field_is_refused() -> None:
    empty = object.__new__(Order)
    assert "cannot be read: AttributeError" in refusal(empty)


def test_a_dataclass_that_holds_itself_is_refused() -> None:
    line: Any = Line("a", Decimal(0))
    line.price = line
    assert "nested more than 64 levels deep" in refusal(line)


def test_the_class_itself_is_no_instance_of_it() -> None:
    assert "is of type type" in refusal(Order)
    with pytest.raises(InvalidEvent, match=r"^properties: must be a mapping such as a dict, not type"):
        clean_properties(Order, ROOM)


def test_a_dataclass_that_is_a_mapping_or_a_text_is_taken_as_that() -> None:
    @dataclass(init=False)
    class Named(str):
        __slots__ = ()
        length: ClassVar[int] = 4

    @dataclass(init=False)
    class Counts(dict[str, int]):
        total: int = 0

    assert cleaned(Named("text")) == "text"
    assert cleaned(Counts(a=1)) == {"a": 1}


class Model:
    """As a model of pydantic 2 presents itself."""

    def __init__(self, **values: object) -> None:
        self.values = values

    def model_dump(self, *, mode: str) -> object:
        assert mode == "python"
        return self.values.get("root", self.values)


def test_a_model_becomes_what_it_dumps() -> None:
    model = Model(price=Decimal("1.5"), day=date(2024, 2, 19), line=Line("a", Decimal(2)))
    as_json = {"price": 1.5, "day": "2024-02-19", "line": {"sku": "a", "price": 2.0}}
    assert cleaned(model) == as_json
    assert clean_properties(model, ROOM) == as_json
    assert cleaned(Model(root=[Decimal("0.5")])) == [0.5]
    assert cleaned(Model(root=None)) is None
    assert "properties.a[3].b.price: has digits" in refusal(Model(price=Decimal(1) / 3))
    with pytest.raises(InvalidEvent, match=r"^properties: must be a mapping such as a dict, not Model$"):
        clean_properties(Model(root=[1]), ROOM)


def test_a_model_that_dumps_a_model_is_refused() -> None:
    assert "is a model whose model_dump() gives a model" in refusal(Model(root=Model()))


def test_a_model_whose_dump_fails_is_refused() -> None:
    class Failing(Model):
        def model_dump(self, *, mode: str) -> object:
            raise RuntimeError(mode)

    assert "cannot be read: RuntimeError" in refusal(Failing())


def test_models_of_pydantic_itself_are_understood() -> None:
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", price=(Decimal, ...))
    outer = pydantic.create_model("Outer", inner=(inner, ...), wait=(timedelta, ...), plan=(Plan, Plan.PRO))
    model = outer(inner={"price": "1.5"}, wait=timedelta(seconds=2))
    assert cleaned(model) == clean_properties(model, ROOM) == {"inner": {"price": 1.5}, "wait": 2.0, "plan": "pro"}
    assert cleaned(pydantic.RootModel[list[Decimal]](["0.5"])) == [0.5]
    assert "properties.a[3].b.inner.price: is too close" in refusal(outer(inner={"price": "1E-400"}, wait=0))
    assert "is of type ModelMetaclass" in refusal(outer)


@pytest.mark.parametrize("value", [MagicMock(), MagicMock(spec=Order), MagicMock(spec=Model), SimpleNamespace(a=1)])
def test_what_answers_to_every_name_is_no_dataclass_and_no_model(value: object) -> None:
    assert f"is of type {type(value).__name__}, which has no form in JSON" in refusal(value)


# Foreign libraries --------------------------------------------------------------------------------------------------

IMPORTS_NOTHING = """
import sys
from lotus_durable.event.encoder import EventEncoder

encoder = EventEncoder(32_768)
try:
    encoder.encode("customer", "name", {"a": object()}, None, None)
except ValueError as error:
    print(error)
print(sorted({"numpy", "django", "pydantic"} & {name.split(".")[0] for name in sys.modules}))
"""


def test_no_library_is_imported_to_look_for_its_classes() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS_NOTHING], check=True, capture_output=True, text=True)
    assert done.stdout == "properties.a: is of type object, which has no form in JSON\n[]\n"


@pytest.mark.parametrize("module", [None, SimpleNamespace(), SimpleNamespace(generic=None), MagicMock()])
def test_a_module_that_is_not_the_library_makes_no_difference(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", module)
    monkeypatch.setitem(sys.modules, "django.utils.functional", module)
    assert refusal(object()).startswith("properties.a[3].b: ")
    assert cleaned(Line("a", Decimal("1.5"))) == {"sku": "a", "price": 1.5}
