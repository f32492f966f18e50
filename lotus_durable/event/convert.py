"""Converting a value of a class that JSON does not know by one step: the middle of the table in ``properties.py``.

Classes of other libraries and of rare modules are recognised without importing them: if there is a value of one, the
program has imported the module, so ``sys.modules`` has the class to compare with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from math import isfinite

from lotus_durable.event.timestamps import utc_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decimal import Decimal
    from typing import Any


class Refused(Exception):
    """A value is refused. Its path is put together on the way up, innermost step first, so good values cost nothing."""

    def __init__(self, reason: str, cause: Exception | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
        self.path: list[str] = []


def converted(value: object) -> object:
    """Return what ``value`` becomes, perhaps with parts to convert in their turn; ``value`` itself if nothing is known.

    Raises:
        Refused: the class is known and this value of it cannot be converted without loss.
        Exception: whatever the value's own code raises.
    """
    kind = type(value)
    for known, conversion in _BY_CLASS:
        if issubclass(kind, known):
            return conversion(value)
    for module, name, conversion in _BY_NAME:
        foreign = imported_class(module, name)
        if foreign is not None and issubclass(kind, foreign):
            return conversion(value)
    return unfolded(value)


def imported_class(module: str, name: str) -> type | None:
    """Return a class of a module that the program has imported; None where it has not (yet all of it)."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def unfolded(value: object) -> object:
    """Return the fields of a dataclass or of a pydantic model (version 2) as a dict; ``value`` itself if it is neither.

    It is the type that is asked: a mock answers to every name, and a class is no instance.
    """
    kind = type(value)
    dataclasses = sys.modules.get("dataclasses")
    if dataclasses is not None and dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
    if _is_model(kind):
        dumped = kind.model_dump(value, mode="python")  # type: ignore[attr-defined]  # _is_model has seen it
        if _is_model(type(dumped)):
            raise Refused("is a model whose model_dump() gives a model")
        return dumped
    return value


def _is_model(kind: type) -> bool:
    return callable(getattr(kind, "model_dump", None))


def _number(value: Decimal) -> float:
    exact: type[Decimal] = sys.modules["decimal"].Decimal
    if not exact.is_finite(value):
        raise Refused("is not a finite number, which JSON cannot express")
    nearest = exact.__float__(value)
    if not isfinite(nearest):
        raise Refused("is too large for a float of 64 bits; str() of it is sent as text")
    if not nearest and exact.__bool__(value):
        raise Refused("is too close to zero for a float of 64 bits; str() of it is sent as text")
    # Compared with the digits that will be sent, which are repr's; comparing Decimals is exact in every context.
    if exact.__eq__(exact(repr(nearest)), value) is not True:
        raise Refused(
            "has digits that a float of 64 bits cannot hold; "
            "str() of it sends them all, as text, and float() of it the nearest number"
        )
    return nearest


def _numpy_scalar(value: Any) -> object:  # noqa: ANN401  # numpy is not to be imported for its types
    # By the kind of what it holds, not by class: numpy's timedelta64 is derived from its signed integers.
    plain = value.item() if value.dtype.kind in "biuf" else None
    return plain if type(plain) in {bool, int, float} else value  # a longdouble's item() is a longdouble


_BY_CLASS: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (datetime, utc_text),  # before date, which it is derived from
    (date, date.isoformat),
    (timedelta, lambda value: value.total_seconds()),
)
_BY_NAME: tuple[tuple[str, str, Callable[[Any], object]], ...] = (
    ("decimal", "Decimal", _number),
    ("uuid", "UUID", str),
    ("numpy", "generic", _numpy_scalar),
    ("django.utils.functional", "Promise", str),
)
