"""Checks of what a call sends, with the messages and codes of Django REST framework, which both generations use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")

TRUE = {"true", "t", "1", "yes", "y", "on"}
FALSE = {"false", "f", "0", "no", "n", "off"}
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
DATE_FORMAT = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
DATETIME_FORMAT = (
    "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
)
NO_FIELD = "non_field_errors"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field; ``attr`` is None when it is wrong with the whole."""

    code: str
    detail: str
    attr: str | None


class Invalid(Exception):
    """What was sent does not fit; each generation words the answer in its own form."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


class Refused(Exception):
    """What was sent is well-formed, and the server says no."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


def invalid(detail: str, attr: str | None = NO_FIELD, code: str = "invalid") -> Invalid:
    """Return the error for one thing that is wrong."""
    return Invalid([FieldError(code, detail, attr)])


def crash() -> Refused:
    """Return the error of a view that raised: L24 words it in JSON."""
    return Refused(500, "error", "A server error occurred.")


class Form:
    """Reads fields one by one, collects what is wrong, and raises all of it at :meth:`check`.

    A field that is missing or wrong reads as None (or its default) until then.

    Raises:
        Invalid: at construction, when the body is not an object.
    """

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, dict):
            raise invalid(f"Invalid data. Expected a dictionary, but got {type(fields).__name__}.")
        self._fields: Mapping[str, Any] = fields
        self._errors: list[FieldError] = []

    def check(self) -> None:
        """Raise Invalid when anything read so far was wrong."""
        if self._errors:
            raise Invalid(self._errors)

    def fail(self, name: str, detail: str, code: str = "invalid") -> None:
        """Note that a field is wrong."""
        self._errors.append(FieldError(code, detail, name))

    def text(self, name: str, *, required: bool = False, max_length: int | None = None) -> str | None:
        """Read text; numbers are taken as text, surrounding space is dropped, blank is refused."""
        value = self._value(name, required=required)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.fail(name, "Not a valid string.")
            return None
        text = str(value).strip()
        if not text:
            self.fail(name, "This field may not be blank.", "blank")
            return None
        if max_length is not None and len(text) > max_length:
            self.fail(name, f"Ensure this field has no more than {max_length} characters.", "max_length")
            return None
        return text

    def email(self, name: str, *, required: bool = False) -> str | None:
        """Read an e-mail address."""
        text = self.text(name, required=required)
        if text is not None and not EMAIL.fullmatch(text):
            self.fail(name, "Enter a valid email address.")
            return None
        return text

    def choice(self, name: str, choices: Iterable[str], default: str | None = None) -> str | None:
        """Read one of ``choices``; null is taken for the default."""
        value = self._value(name)
        if value is None:
            return default
        if value not in choices:
            self.fail(name, f'"{value}" is not a valid choice.', "invalid_choice")
            return None
        return str(value)

    def boolean(self, name: str, default: bool | None = None) -> bool | None:  # noqa: FBT001  # like the others
        """Read a boolean, also as a word or a digit."""
        value = self._value(name)
        if value is None:
            return default
        word = str(value).lower()
        if word not in TRUE | FALSE:
            self.fail(name, "Must be a valid boolean.")
            return None
        return word in TRUE

    def date(self, name: str, *, required: bool = False) -> date | None:
        """Read ``YYYY-MM-DD`` and nothing else."""
        value = self._value(name, required=required)
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d?-\d\d?", value, re.ASCII):
            self.fail(name, DATE_FORMAT)
            return None
        try:
            return date(*map(int, value.split("-")))
        except ValueError:
            self.fail(name, DATE_FORMAT)
            return None

    def datetime(self, name: str, *, required: bool = False) -> datetime | None:
        """Read an ISO 8601 time, or a date for its midnight; without an offset it is UTC."""
        value = self._value(name, required=required)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            self.fail(name, DATETIME_FORMAT)
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def decimal(self, name: str, *, required: bool = False) -> Decimal | None:
        """Read a number of at most 20 digits, 10 of them after the point."""
        value = self._value(name, required=required)
        if value is None:
            return None
        try:
            number = Decimal(str(value).strip())
        except InvalidOperation:
            self.fail(name, "A valid number is required.")
            return None
        if isinstance(value, bool) or not number.is_finite():
            self.fail(name, "A valid number is required.")
            return None
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)
        if -exponent > 10:  # noqa: PLR2004
            self.fail(name, "Ensure that there are no more than 10 decimal places.", "max_decimal_places")
            return None
        if len(digits) + exponent > 10:  # noqa: PLR2004
            detail = "Ensure that there are no more than 10 digits before the decimal point."
            self.fail(name, detail, "max_whole_digits")
            return None
        return number

    def integer(self, name: str, *, default: int, minimum: int) -> int:
        """Read an integer."""
        value = self._value(name)
        if value is None:
            return default
        if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
            self.fail(name, "A valid integer is required.")
            return default
        if int(value) < minimum:
            self.fail(name, f"Ensure this value is greater than or equal to {minimum}.", "min_value")
        return int(value)

    def json_object(self, name: str) -> dict[str, Any] | None:
        """Read an object; other JSON is refused here although the server would store it."""
        value = self._value(name)
        if value is None or isinstance(value, dict):
            return value
        self.fail(name, "Value must be valid JSON.")
        return None

    def objects(self, name: str, *fields: str) -> list[dict[str, str]]:
        """Read a list of objects that each have ``fields``."""
        value = self._value(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail(name, f'Expected a list of items but got type "{type(value).__name__}".', "not_a_list")
            return []
        read = []
        for i, item in enumerate(value):
            inner = Form(item)
            read.append({field: inner.text(field, required=True) or "" for field in fields})
            self._errors += [
                FieldError(error.code, error.detail, f"{name}.{i}.{error.attr}") for error in inner._errors
            ]
        return read

    def related(
        self, name: str, find: Callable[[str], T | None], *, required: bool = False, prefix: str = ""
    ) -> T | None:
        """Read an id and find what it names; ids of L24 other than the customer's have a ``prefix``."""
        value = self._value(name, required=required)
        if value is None:
            return None
        if prefix:
            id_ = _canonical(value, prefix)
            if id_ is None:
                self.fail(name, _prefix_detail(prefix))
                return None
            found = find(id_)
        else:
            found = find(str(value)) if isinstance(value, str | int) else None
        if found is None:
            self.fail(name, f"Object with {name}={value} does not exist.", "does_not_exist")
            return None
        return found

    def _value(self, name: str, *, required: bool = False) -> Any:  # noqa: ANN401  # any JSON value
        if name not in self._fields:
            if required:
                self.fail(name, "This field is required.", "required")
            return None
        value = self._fields[name]
        if value is None and required:
            self.fail(name, "This field may not be null.", "null")
        return value


def check_id(value: str, prefix: str) -> str:
    """Return the id in its usual form; raises Invalid when it cannot be one with this prefix."""
    id_ = _canonical(value, prefix)
    if id_ is None:
        raise invalid(_prefix_detail(prefix), attr=None)
    return id_


def _canonical(value: object, prefix: str) -> str | None:
    """Return prefix and 32 hex digits; the server takes them with or without their prefix and hyphens."""
    if not isinstance(value, str):
        return None
    digits = value.replace("-", "").replace(prefix, "").lower()
    return prefix + digits if re.fullmatch(r"[0-9a-f]{32}", digits) else None


def _prefix_detail(prefix: str) -> str:
    return (
        f"Input must be a string beginning with the prefix {prefix} and followed by the compact hex "
        "representation of the UUID, not including hyphens."
    )
