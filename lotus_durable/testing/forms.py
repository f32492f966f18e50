"""Checks of what a call sends, with the messages and codes of Django REST framework, which both generations use.

A *reader* takes the value of a field and returns what it means, or raises :class:`Wrong`. A form says by name which
reader is for which field; ``a|b`` takes one of these words; with ``!`` the field has to be there, else it reads as None
when it is missing or null; with ``*`` it is a list in a query. An object in place of a name is a form within, in a list
one for each item. What is wrong is refused all at once.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

Reader = Callable[[Any], Any]

TRUE = {"true", "t", "1", "yes", "y", "on"}
FALSE = {"false", "f", "0", "no", "n", "off"}
DATE_FORMAT = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
DATETIME_FORMAT = (
    "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
)
PREFIX_FORMAT = (
    "Input must be a string beginning with the prefix {} and followed by the compact hex representation of the UUID, "
    "not including hyphens."
)
MISSING = "This field is required."
NO_FIELD = "non_field_errors"


class FieldError(NamedTuple):
    """One thing wrong with one field; ``attr`` is None when it is wrong with the whole."""

    code: str
    detail: str
    attr: str | None


class Wrong(Exception):
    """A value does not fit, or some values within it, each with its place."""

    def __init__(self, detail: str = "", code: str = "invalid", *, within: Iterable[FieldError] = ()) -> None:
        super().__init__(detail)
        self.errors: list[FieldError] = list(within) or [FieldError(code, detail, None)]


class Refused(Exception):
    """The server says no; each generation words it in its own form.

    Attributes:
        errors: what is wrong, at least one.
        is_about_fields: whether it is worded by field; else there is one error, and its ``attr`` means nothing.
    """

    def __init__(self, status: int, *errors: FieldError, is_about_fields: bool = False) -> None:
        super().__init__(errors)
        self.status = status
        self.errors = errors
        self.is_about_fields = is_about_fields


def read(fields: object, form: Mapping[str, Any], readers: Mapping[str, Reader]) -> SimpleNamespace:
    """Return the values of these fields; raises Refused, by field, when any is wrong or missing."""
    try:
        return SimpleNamespace(**_fields(fields, form, readers))
    except Wrong as wrong:
        errors = [error if error.attr else error._replace(attr=NO_FIELD) for error in wrong.errors]
        raise Refused(400, *errors, is_about_fields=True) from None


def id_in_path(value: str, *prefixes: str) -> str:
    """Return the hex digits of an id in a path; raises Refused when it cannot be one."""
    try:
        return hex_of(value, *prefixes)
    except Wrong as wrong:
        raise Refused(400, *wrong.errors, is_about_fields=True) from None


def _fields(fields: Any, form: Mapping[str, Any], readers: Mapping[str, Reader]) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(fields, dict):
        raise Wrong(f"Invalid data. Expected a dictionary, but got {type(fields).__name__}.")
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, kind in form.items():
        try:
            values[name] = _value(fields, name, kind, readers)
        except Wrong as wrong:
            errors += [error._replace(attr=f"{name}.{error.attr}" if error.attr else name) for error in wrong.errors]
    if errors:
        raise Wrong(within=errors)
    return values


def _value(fields: Mapping[str, Any], name: str, kind: Any, readers: Mapping[str, Reader]) -> Any:  # noqa: ANN401
    value = fields.get(name)
    if value is None and str(kind).endswith("!"):
        raise Wrong("This field may not be null.", "null") if name in fields else Wrong(MISSING, "required")
    if value is None:
        return None
    if isinstance(kind, dict):
        return _fields(value, kind, readers)
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise Wrong(f'Expected a list of items but got type "{type(value).__name__}".', "not_a_list")
        numbered = {str(i): item for i, item in enumerate(value)}  # an error within names its number
        return list(_fields(numbered, dict.fromkeys(numbered, kind[0]), readers).values())
    words = kind.rstrip("!*")
    reader = _choice(words.split("|")) if "|" in words else readers[words]
    return [reader(one) for one in value] if kind.endswith("*") else reader(value)


# ------------------------------------------------------------------ readers


def _matching(pattern: str, detail: str, code: str = "invalid", to: Callable[[str], Any] = str) -> Reader:
    """Read what matches as a whole; numbers are taken as text, a boolean is not."""

    def reader(value: object) -> Any:  # noqa: ANN401  # what ``to`` makes of it
        text = "" if isinstance(value, bool) or not isinstance(value, str | int | float) else str(value)
        if not re.fullmatch(pattern, text, re.ASCII):
            raise Wrong(detail.format(value), code)
        try:
            return to(text)
        except ValueError:
            raise Wrong(detail.format(value), code) from None

    return reader


def _choice(words: list[str]) -> Reader:
    return _matching("|".join(map(re.escape, words)), '"{}" is not a valid choice.', "invalid_choice")


def _text(value: object, most: float = float("inf")) -> str:
    """Read text that is no longer; numbers are taken as text, surrounding space is dropped, blank is refused."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Wrong("Not a valid string.")
    stripped = str(value).strip()
    if not stripped:
        raise Wrong("This field may not be blank.", "blank")
    if len(stripped) > most:
        raise Wrong(f"Ensure this field has no more than {most} characters.", "max_length")
    return stripped


def _boolean(value: object) -> bool:
    """Read a boolean, also as a word or a digit."""
    word = str(value).lower()
    if word not in TRUE | FALSE:
        raise Wrong("Must be a valid boolean.")
    return word in TRUE


def _moment(value: Any) -> datetime:  # noqa: ANN401  # JSON
    """Read an ISO 8601 time, or a date for its midnight; without an offset it is UTC."""
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Wrong(DATETIME_FORMAT) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _decimal(value: object, digits: int = 20, places: int = 10) -> Decimal:
    """Read a number of at most so many digits, so many of them after the point."""
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise Wrong("A valid number is required.")
    _, given, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    for what, many, most, code in (
        ("digits in total", max(len(given) + max(exponent, 0), -exponent), digits, "max_digits"),
        ("decimal places", -exponent, places, "max_decimal_places"),
        ("digits before the decimal point", len(given) + exponent, digits - places, "max_whole_digits"),
    ):
        if many > most:
            raise Wrong(f"Ensure that there are no more than {most} {what}.", code)
    return number


def _at_least(minimum: int, reader: Reader) -> Reader:
    def checked(value: object) -> Any:  # noqa: ANN401  # a number
        number = reader(value)
        if number < minimum:
            raise Wrong(f"Ensure this value is greater than or equal to {minimum}.", "min_value")
        return number

    return checked


def _json_object(value: object) -> dict[str, Any]:
    """Read an object; other JSON is refused here although the server would store it."""
    if not isinstance(value, dict):
        raise Wrong("Value must be valid JSON.")
    return value


READERS: dict[str, Reader] = {
    "text": _text,
    "text_40": partial(_text, most=40),
    "text_100": partial(_text, most=100),
    "email": _matching(r"[^@\s]+@[^@\s]+\.[^@\s]+", "Enter a valid email address."),
    "boolean": _boolean,
    "day": _matching(r"\d{4}-\d\d?-\d\d?", DATE_FORMAT, to=lambda text: date(*map(int, text.split("-")))),
    "moment": _moment,
    "decimal": _decimal,
    "not_negative": _at_least(0, _decimal),
    "tax_rate": partial(_decimal, digits=7, places=4),
    "quantity": _at_least(1, _matching(r"-?\d+", "A valid integer is required.", to=int)),
    "json_object": _json_object,
    "country": _matching(r"[A-Z]{2}", '"{}" is not a valid choice.', "invalid_choice"),
}


def named(key: str, find: Callable[[str], object], *prefixes: str) -> Reader:
    """Read an id and return what it names.

    Args:
        key: what the server calls the id when it names nothing.
        find: from the id to the thing.
        prefixes: of L24's ids: one of these and 32 hex digits; the last is the one in the message.
    """

    def reader(value: object) -> object:
        if prefixes:
            digits = hex_of(value, *prefixes)
            tried, shown = [prefix + digits for prefix in prefixes], str(uuid.UUID(digits))
        else:
            tried, shown = [str(value)] if isinstance(value, str | int) else [], str(value)
        found = next((found for id_ in tried if (found := find(id_)) is not None), None)
        if found is None:
            raise Wrong(f"Object with {key}={shown} does not exist.", "does_not_exist")
        return found

    return reader


def hex_of(value: object, *prefixes: str) -> str:
    """Return the 32 hex digits of an id of L24's, taken with or without prefix and hyphens."""
    digits = value.replace("-", "") if isinstance(value, str) else ""
    for prefix in prefixes:
        shorter = digits.replace(prefix, "").lower()
        if re.fullmatch(r"[0-9a-f]{32}", shorter):
            return shorter
    raise Wrong(PREFIX_FORMAT.format(prefixes[-1]))
