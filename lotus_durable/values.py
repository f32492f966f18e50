"""Values: tuples with named fields, with the methods of ``typing.NamedTuple`` and without its import.

A process that tracks belongs to the application. Whatever we import there costs each of its workers time and memory,
and we may import nothing later: a fork in the middle of an import leaves a child that waits for it for ever. So a
process that only tracks imports no large modules of the standard library for us: no dataclasses (they import
``inspect`` and compile each class), typing, enum, re, pathlib, urllib, logging, threading or signal. Types are imported
for type checkers only, paths are ``str``, and the logger is :mod:`.log`'s. What an application passes in of such a
module (a ``Decimal``, an ``Enum``) is recognised by way of the modules that the application has imported itself.
``tests/test_import.py`` has the list.
"""

from __future__ import annotations

__all__ = ["NamedTuple"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NamedTuple, Self
else:
    from collections import _tuplegetter  # reads a field at the speed of C

    class _ValueType(type):
        """Makes the annotated names of a class the fields of its tuples."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _ValueType:
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            getters = {field: _tuplegetter(index, None) for index, field in enumerate(fields)}
            more = {"__slots__": (), "__match_args__": fields, "_fields": fields, "_field_defaults": defaults}
            return super().__new__(cls, name, bases, {**body, **getters, **more})

    class NamedTuple(tuple, metaclass=_ValueType):
        """Base of a value; see the module."""

        __slots__ = ()

        def __new__(cls, *values: object, **named: object) -> Self:
            if named or len(values) != len(cls._fields):
                values = cls._completed(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _completed(cls, values: tuple[object, ...], named: dict[str, object]) -> tuple[object, ...]:
            rest = cls._fields[len(values) :]
            if len(values) > len(cls._fields) or not named.keys() <= set(rest):
                raise TypeError(f"{cls.__name__} has the fields {', '.join(cls._fields)}, each once")
            known = {**cls._field_defaults, **named}
            try:
                return (*values, *map(known.__getitem__, rest))
            except KeyError as missing:
                raise TypeError(f"{cls.__name__} needs {missing}") from None

        @classmethod
        def _make(cls, values: Iterable[object]) -> Self:
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(made)}")
            return made

        def _replace(self, **changes: object) -> Self:
            made = tuple.__new__(type(self), map(changes.pop, self._fields, self))
            if changes:
                raise TypeError(f"{type(self).__name__} has no {', '.join(changes)}")
            return made

        def _asdict(self) -> dict[str, object]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            shown = (f"{field}={value!r}" for field, value in self._asdict().items())
            return f"{type(self).__name__}({', '.join(shown)})"

        def __eq__(self, other: object) -> bool:
            """Compare with another value of its class; no value is equal to one of another class, as tuples are."""
            return type(self) is type(other) and tuple.__eq__(self, other)

        def __ne__(self, other: object) -> bool:
            return not self == other

        __hash__ = tuple.__hash__

        def __getnewargs__(self) -> tuple[object, ...]:
            return tuple(self)
