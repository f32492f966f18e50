"""Checks of what a call sends, as Django REST framework does them, which both generations use.

A *reader* takes the value of a field and returns what it means, or raises :class:`Refused`. A form says by name which
reader is for which field; ``a|b`` takes one of these words; with ``!`` the field has to be there, else it reads as None
when it is missing or null; with ``*`` it is a list in a query. An object in place of a name is a form within, in a list
one for each item. What is wrong is refused all at once. The codes and messages are in ``forms.json``.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, NamedTuple

from lotus_durable.testing.data import load

Reader = Callable[[Any], Any]

_DATA = load("forms")
NO_FIELD = "non_field_errors"


class FieldError(NamedTuple):
    """One thing wrong with one field; ``attr`` is None when it is wrong with the whole."""

    code: str
    detail: str
    attr: str | None = None


class Refused(Exception):
    """The server says no; each generation words it in its own form: by field, or the one error that there is."""

    def __init__(self, status: int, *errors: FieldError, is_about_fields: bool = False) -> None:
        super().__init__(errors)
        self.status = status
        self.errors = errors
        self.is_about_fields = is_about_fields


def error(why: str, *blanks: object) -> FieldError:
    """Return what is wrong by its name in forms.json."""
    code, detail = _DATA["details"][why]
    return FieldError(code, detail.format(*blanks))


def wrong(why: str, *blanks: object) -> Refused:
    """Return the refusal of a value, to be raised."""
    return Refused(400, error(why, *blanks), is_about_fields=True)


def read(fields: object, form: Mapping[str, Any], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Return the values of these fields; raises Refused, by field, when any is wrong or missing."""
    try:
        return _fields(fields, form, readers)
    except Refused as refused:
        errors = [one if one.attr else one._replace(attr=NO_FIELD) for one in refused.errors]
        raise Refused(400, *errors, is_about_fields=True) from None


def _fields(fields: Any, form: Mapping[str, Any], readers: Mapping[str, Reader]) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(fields, dict):
        raise wrong("no object", type(fields).__name__)
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, kind in form.items():
        try:
            values[name] = _value(fields, name, kind, readers)
        except Refused as refused:
            errors += [one._replace(attr=f"{name}.{one.attr}" if one.attr else name) for one in refused.errors]
    if errors:
        raise Refused(400, *errors, is_about_fields=True)
    return values


def _value(fields: Mapping[str, Any], name: str, kind: Any, readers: Mapping[str, Reader]) -> Any:  # noqa: ANN401
    value = fields.get(name)
    if value is None and str(kind).endswith("!"):
        raise wrong("null" if name in fields else "required")
    if value is None or isinstance(kind, dict):
        return None if value is None else _fields(value, kind, readers)
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise wrong("no list", type(value).__name__)
        numbered = {str(i): item for i, item in enumerate(value)}  # an error within names its number
        return list(_fields(numbered, dict.fromkeys(numbered, kind[0]), readers).values())
    words = kind.rstrip("!*")
    reader = partial(_like, pattern=words, why="no choice") if "|" in words else readers[words]
    return [reader(one) for one in value] if kind.endswith("*") else reader(value)


def _like(value: object, pattern: str, why: str) -> str:
    """Read what matches as a whole; numbers are taken as text, a boolean is not."""
    text = "" if isinstance(value, bool) or not isinstance(value, str | int | float) else str(value)
    if not re.fullmatch(pattern, text, re.ASCII):
        raise wrong(why, value)
    return text


def _day(value: object) -> datetime:
    try:
        year, month, day = map(int, _like(value, r"\d{4}-\d\d?-\d\d?", "no day").split("-"))
        return datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        raise wrong("no day") from None


def _text(value: object, most: float = float("inf")) -> str:
    """Read text that is no longer; numbers are taken as text, surrounding space is dropped, blank is refused."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong("no text")
    stripped = str(value).strip()
    if not stripped:
        raise wrong("blank")
    if len(stripped) > most:
        raise wrong("too long", most)
    return stripped


def _boolean(value: object) -> bool:
    """Read a boolean, also as a word or a digit."""
    word = str(value).lower()
    if word not in _DATA["booleans"]:
        raise wrong("no boolean")
    return bool(_DATA["booleans"][word])


def moment(value: Any) -> datetime:  # noqa: ANN401  # JSON
    """Read an ISO 8601 time, or a date for its midnight; without an offset it is UTC."""
    try:
        read = datetime.fromisoformat(value)
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise wrong("no moment") from None
    except OverflowError:
        raise wrong("out of range") from None


def _number(value: object, digits: int, places: int, least: float = float("-inf")) -> Decimal:
    """Read a number of at most so many digits, so many of them after the point."""
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise wrong("no number")
    _, given, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    for many, most, what in (
        (max(len(given) + max(exponent, 0), -exponent), digits, "digits"),
        (-exponent, places, "decimal places"),
        (len(given) + exponent, digits - places, "whole digits"),
    ):
        if many > most:
            raise wrong(what, most)
    if number < least:
        raise wrong("too little", least)
    return number


def _whole(value: object, least: int) -> int:
    number = int(_like(value, r"-?\d+", "no whole number"))
    if number < least:
        raise wrong("too little", least)
    return number


def _json_object(value: object) -> dict[str, Any]:
    """Read an object; other JSON is refused here although the server would store it."""
    if not isinstance(value, dict):
        raise wrong("no JSON")
    return value


READERS: dict[str, Reader] = {
    "text": _text,
    "text_40": partial(_text, most=40),
    "text_100": partial(_text, most=100),
    "email": partial(_like, pattern=r"[^@\s]+@[^@\s]+\.[^@\s]+", why="no e-mail"),
    "country": partial(_like, pattern="[A-Z]{2}", why="no choice"),
    "day": _day,
    "boolean": _boolean,
    "moment": moment,
    "decimal": partial(_number, digits=20, places=10),
    "not_negative": partial(_number, digits=20, places=10, least=0),
    "tax_rate": partial(_number, digits=7, places=4),
    "quantity": partial(_whole, least=1),
    "json_object": _json_object,
}


def named(things: Mapping[str, object], key: str, prefix: str = "", taken: Sequence[str] = ()) -> Reader:
    """Read an id, the server's ``key``, and return what it names.

    L24's ids are a prefix and 32 hex digits; ``taken`` are those that a client may write in the place of it.
    """

    def reader(value: object) -> object:
        digits = hex_of(value, *taken) if taken else str(value)
        if prefix + digits not in things:
            raise wrong("unknown", key, uuid.UUID(digits) if taken else digits)
        return things[prefix + digits]

    return reader


def hex_of(value: object, *prefixes: str) -> str:
    """Return the 32 hex digits of an id of L24's, taken with or without prefix and hyphens; the last is in messages."""
    compact = value.replace("-", "").lower() if isinstance(value, str) else ""
    match = re.fullmatch(f"(?:{'|'.join(prefixes)})?([0-9a-f]{{32}})", compact)
    if match is None:
        raise wrong("no id", prefixes[-1])
    return match[1]
