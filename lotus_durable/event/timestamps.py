"""Times as both generations of the server accept them: RFC 3339, UTC, microseconds, ``Z``.

One form leaves this package: ``YYYY-MM-DDTHH:MM:SS.ffffffZ``. The server of 2024 refuses a space, a missing zone,
``+0000`` and lowercase letters, and the server of 2022 loses a whole batch over a time it cannot parse. So whatever
comes in is read here, once, and written in that form. How old a time may be is the server's business (the two differ).

Every form means the same on every version of Python: ``datetime.fromisoformat`` understands more from version to
version (24:00 from 3.14 on), so it reads nothing here, and no message repeats Python's own words.

A day has the hours 00 to 23, and a minute the seconds 00 to 59: ``24:00`` is refused although ISO 8601 knows it,
because RFC 3339 does not and a moment should have one name; second 60 is refused because the servers cannot parse it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from math import floor, nextafter

from lotus_durable.errors import InvalidEvent

_DIGITS = "0123456789"
_SHAPE = str.maketrans("123456789t ", "000000000TT")
"""Makes two texts of one form equal: each digit a zero, and one letter between date and time."""
_MOMENT = "0000-00-00T00:00:00"
_OFFSETS = ("+00:00", "-00:00")
_LAST_HOUR, _LAST_MINUTE = 23, 59
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEFORE_ONE = nextafter(1.0, 0.0)
_WITHOUT_ZONE = len("2024-02-19T10:11:12.123456")


class Clock:
    """Writes moments as text that come one soon after the other; the calendar part is worked out once a second.

    The cached second is one tuple, replaced whole: of several threads each sees the old one or the new one, never half
    of each. A clock that steps, backwards or forwards, only misses the cache.
    """

    __slots__ = ("_second", "_three_digits")

    def __init__(self) -> None:
        self._second = _whole_second(0.0)
        self._three_digits = _three_digits()

    def text(self, moment: float) -> str:
        """Write ``moment`` (unix seconds, from ``time.time()``) as RFC 3339; less than a microsecond is cut off.

        Raises:
            InvalidEvent: it is none of the years 1 to 9999.
        """
        start, prefix = self._second
        fraction = moment - start
        if not 0.0 <= fraction < 1.0:
            start, prefix = self._second = _whole_second(moment)
            fraction = min(moment - start, _BEFORE_ONE)  # it is rounded to 1 where a moment is just before 1970
        micros = int(fraction * 1e6)
        digits = self._three_digits
        return f"{prefix}{digits[micros // 1000]}{digits[micros % 1000]}Z"


@cache
def _three_digits() -> tuple[str, ...]:
    """Return the numbers up to 999 as text, for half the price of formatting; 60 KB that who only tracks needs not."""
    return tuple(f"{number:03d}" for number in range(1000))


def _whole_second(moment: float) -> tuple[float, str]:
    try:
        second = floor(moment)
        return float(second), f"{(_EPOCH + timedelta(seconds=second)).isoformat()[:19]}."
    except (OverflowError, ValueError) as error:
        raise _no_time() from error


def utc_text(moment: datetime) -> str:
    """Write a datetime as RFC 3339 in UTC; a naive one is taken as **UTC**, never as local time.

    A subclass is read by attribute into a plain datetime, so what it says counts: pandas' ``NaT``, a datetime by class
    only, fails here instead of becoming the year 1.

    Raises:
        Exception: whatever the subclass or its tzinfo raises; OverflowError outside the years 1 to 9999.
    """
    plain = moment if type(moment) is datetime else _plain(moment)
    offset = plain.utcoffset()
    if offset:
        plain = plain.replace(tzinfo=None) - offset
    return plain.isoformat(timespec="microseconds")[:_WITHOUT_ZONE] + "Z"


def _plain(moment: datetime) -> datetime:
    day = datetime(moment.year, moment.month, moment.day, tzinfo=moment.tzinfo, fold=moment.fold)
    return day.replace(hour=moment.hour, minute=moment.minute, second=moment.second, microsecond=moment.microsecond)


def clean_time(value: object) -> str:
    """Turn a given ``time_created`` into RFC 3339 text in UTC.

    Accepted are a ``datetime``, and a string as RFC 3339 writes it (date and time separated by ``T``, ``t`` or a space;
    any number of fraction digits, cut off after the microsecond). Without a zone either is taken as **UTC**: the same
    code has to bill the same on every host, and users of the original client pass ``str(datetime)``.

    Raises:
        InvalidEvent: for anything else. A number is refused because seconds and milliseconds look alike. None was left
            out, and the clock says no time.
    """
    if value is None:
        raise _no_time()
    try:
        if isinstance(value, datetime):
            return utc_text(value)
        if isinstance(value, str):
            return utc_text(_parsed(str.__str__(value)))
        if isinstance(value, int | float):
            raise _refused("must be a datetime or an RFC 3339 string; unix time: datetime.fromtimestamp(seconds, UTC)")
        raise _refused("must be a datetime or an RFC 3339 string")
    except InvalidEvent:
        raise
    except Exception as error:
        # Not only OverflowError: datetime subclasses and tzinfo objects are somebody else's code.
        raise _refused("cannot be expressed in UTC within the years 1 to 9999") from error


def _parsed(text: str) -> datetime:
    size = len(_MOMENT)
    moment, rest = text[:size], text[size:]
    fraction = ""
    if rest.startswith("."):
        zone_text = rest[1:].lstrip(_DIGITS)
        fraction = rest[1 : len(rest) - len(zone_text)]
        rest = zone_text if fraction else rest
    zone = UTC if rest in ("", "Z", "z") else _offset(rest)
    if moment.translate(_SHAPE) != _MOMENT or zone is None:
        raise _refused("must look like 2024-02-19T10:11:12.5Z (RFC 3339)")
    year, month, day = int(moment[:4]), int(moment[5:7]), int(moment[8:10])
    hour, minute, second = int(moment[11:13]), int(moment[14:16]), int(moment[17:])
    micros = int(f"{fraction}000000"[:6])
    try:
        return datetime(year, month, day, hour, minute, second, micros, tzinfo=zone)
    except ValueError:
        raise _refused(f"is not a time that exists: {_why_not(hour, minute, second)}") from None


def _offset(text: str) -> timezone | None:
    if text.translate(_SHAPE) not in _OFFSETS:
        return None
    hours, minutes = int(text[1:3]), int(text[4:])
    if hours > _LAST_HOUR or minutes > _LAST_MINUTE:
        return None
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _why_not(hour: int, minute: int, second: int) -> str:
    for value, unit, last in ((hour, "hour", 23), (minute, "minute", 59), (second, "second", 59)):
        if value > last:
            return f"there is no {unit} {value}; the last one is {last}"
    return "there is no such day in the calendar"


def _no_time() -> InvalidEvent:
    """Return what is wrong with an event when the clock is, or what a test has replaced it by."""
    return _refused("is left out, and the clock says no time within the years 1 to 9999")


def _refused(reason: str) -> InvalidEvent:
    return InvalidEvent("time_created", reason)
