# ruff: noqa: DTZ001  # what becomes of naive datetimes is tested here
from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import lotus_durable.event.timestamps
from lotus_durable.errors import InvalidEvent
from lotus_durable.event.timestamps import Clock, clean_time

ACCEPTED_BY_BOTH_SERVERS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class NotATime(datetime):
    """Like pandas' NaT: a datetime by class, with no year to tell."""

    @property
    def year(self) -> int:
        return float("nan")  # type: ignore[return-value]


class Later(datetime):
    """Like a time library's own class: a datetime that adds methods."""


class BrokenZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise KeyError("no zone data")

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return "broken"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (datetime(2024, 2, 19, 10, 11, 12, 5, tzinfo=UTC), "2024-02-19T10:11:12.000005Z"),
        (datetime(2024, 2, 19, 10, 11, 12), "2024-02-19T10:11:12.000000Z"),
        (datetime(2024, 2, 19, 1, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))), "2024-02-18T19:30:00.000000Z"),
        (datetime(2024, 2, 19, 1, 0, tzinfo=timezone(-timedelta(seconds=1))), "2024-02-19T01:00:01.000000Z"),
        (datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")), "2024-07-01T10:00:00.000000Z"),
        (datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1), "2024-10-27T01:30:00.000000Z"),
        (Later(2024, 10, 27, 2, 30, 0, 7, tzinfo=ZoneInfo("Europe/Berlin"), fold=1), "2024-10-27T01:30:00.000007Z"),
        (Later(2024, 2, 19, 10, 11, 12, 13), "2024-02-19T10:11:12.000013Z"),
        (datetime(1, 1, 1), "0001-01-01T00:00:00.000000Z"),
        ("2024-02-19T10:11:12Z", "2024-02-19T10:11:12.000000Z"),
        ("2024-02-19t10:11:12z", "2024-02-19T10:11:12.000000Z"),
        ("2024-02-19 10:11:12.5+00:00", "2024-02-19T10:11:12.500000Z"),
        ("2024-02-19T10:11:12.123456789Z", "2024-02-19T10:11:12.123456Z"),
        ("2024-02-19T10:11:12.999999999999Z", "2024-02-19T10:11:12.999999Z"),
        ("2024-02-19T10:11:12", "2024-02-19T10:11:12.000000Z"),
        ("2024-02-19T00:30:00+01:00", "2024-02-18T23:30:00.000000Z"),
        ("2024-02-19T00:30:00-23:59", "2024-02-20T00:29:00.000000Z"),
        ("2024-02-19T00:30:00-00:00", "2024-02-19T00:30:00.000000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_written_as_rfc_3339_in_utc(given: object, written: str) -> None:
    assert clean_time(given) == written
    assert ACCEPTED_BY_BOTH_SERVERS.fullmatch(written)


def test_what_the_original_client_sent_for_a_datetime_is_understood() -> None:
    moment = datetime(2024, 2, 19, 10, 11, 12, 130000, tzinfo=UTC)
    assert clean_time(str(moment)) == clean_time(moment) == clean_time(moment.isoformat())


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (1708337472, "fromtimestamp"),
        (1708337472.5, "fromtimestamp"),
        (True, "must be a datetime or"),
        (date(2024, 2, 19), "must be a datetime or"),
        (b"2024-02-19T10:11:12Z", "must be a datetime or"),
        ([], "must be a datetime or"),
        ("", "must look like"),
        ("now", "must look like"),
        ("2024-02-19", "must look like"),
        ("2024-02-19T10:11Z", "must look like"),
        ("2024-02-19T10:11:12+0000", "must look like"),
        ("2024-02-19T10:11:12+01", "must look like"),
        ("2024-02-19T10:11:12+24:00", "must look like"),
        ("2024-02-19T10:11:12+05:60", "must look like"),
        ("2024-02-19T10:11:12.Z", "must look like"),
        ("2024-02-19T10:11:12,5Z", "must look like"),
        ("2024-02-19T10:11:12Z\n", "must look like"),
        (" 2024-02-19T10:11:12Z", "must look like"),
        ("2024-02-19T10:11:12Z[UTC]", "must look like"),
        ("24-02-19T10:11:12Z", "must look like"),
        ("\uff12\uff10\uff12\uff14-02-19T10:11:12Z", "must look like"),
        ("2024-13-19T10:11:12Z", "no such day in the calendar"),
        ("2023-02-29T10:11:12Z", "no such day in the calendar"),
        ("2024-02-19T24:00:00Z", "there is no hour 24; the last one is 23"),
        ("2024-02-19 24:00:00", "there is no hour 24; the last one is 23"),
        ("2024-02-19T24:00:00.000+01:00", "there is no hour 24; the last one is 23"),
        ("2024-02-19T24:00", "must look like"),
        ("2024-02-19T24", "must look like"),
        ("2024-02-19T10:60:00Z", "there is no minute 60; the last one is 59"),
        ("2016-12-31T23:59:60Z", "there is no second 60; the last one is 59"),
        ("2024-W08-1T10:11:12Z", "must look like"),
        ("20240219T101112Z", "must look like"),
        ("2024-050T10:11:12Z", "must look like"),
        ("0000-01-01T00:00:00Z", "no such day in the calendar"),
        ("0001-01-01T00:00:00+00:01", "years 1 to 9999"),
        ("9999-12-31T23:59:59-00:01", "years 1 to 9999"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "years 1 to 9999"),
        (datetime(2024, 2, 19, tzinfo=BrokenZone()), "cannot be expressed in UTC"),
        (NotATime(2024, 2, 19), "cannot be expressed in UTC"),
    ],
)
def test_what_is_not_a_time_is_refused(given: object, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        clean_time(given)
    assert caught.value.field == "time_created"
    assert reason in caught.value.reason


def test_what_a_zone_raised_is_chained_to_the_refusal() -> None:
    with pytest.raises(InvalidEvent) as caught:
        clean_time(datetime(2024, 2, 19, tzinfo=BrokenZone()))
    assert isinstance(caught.value.__cause__, KeyError)


class NoParser(datetime):
    """The parsers of ``datetime`` understand more in each version of Python: 24:00 from 3.14 on."""

    @classmethod
    def fromisoformat(cls, _: str, /) -> Any:
        raise AssertionError("read by fromisoformat")

    strptime = fromisoformat  # type: ignore[assignment]


@pytest.mark.parametrize("text", ["2024-02-19T10:11:12.5Z", "2024-02-19 10:11:12", "2024-02-19T00:30:00+01:00"])
def test_no_time_is_read_by_what_differs_between_versions_of_python(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = clean_time(text)
    monkeypatch.setattr(lotus_durable.event.timestamps, "datetime", NoParser)
    assert clean_time(text) == expected
    with pytest.raises(InvalidEvent, match="there is no hour 24"):
        clean_time("2024-02-19T24:00:00Z")


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (0.5, "1970-01-01T00:00:00.500000Z"),
        (1708337472.0, "2024-02-19T10:11:12.000000Z"),
        (1708337472.999999, "2024-02-19T10:11:12.999999Z"),
        (1708337472.9999998, "2024-02-19T10:11:12.999999Z"),
        (-0.25, "1969-12-31T23:59:59.750000Z"),
        (-1e-300, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_the_clock_writes_unix_seconds_as_rfc_3339(moment: float, written: str) -> None:
    assert Clock().text(moment) == written


def test_the_cached_second_survives_a_clock_that_steps_backwards_and_forwards() -> None:
    clock = Clock()
    moments = [1708337472.25, 1708337472.75, 1708337471.75, 1708337472.0, 1808337472.5, 1708337473.0, 1708337472.0]
    assert [clock.text(moment) for moment in moments] == [Clock().text(moment) for moment in moments]


@pytest.mark.parametrize("moment", [1e12, -1e12, math.inf, -math.inf, math.nan])
def test_a_clock_that_says_no_time_is_refused_like_any_other_time(moment: float) -> None:
    with pytest.raises(InvalidEvent, match=r"^time_created: .* the clock says no time"):
        Clock().text(moment)
