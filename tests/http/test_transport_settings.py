"""What a transport takes from its arguments, the environment and the server's headers, and what it keeps secret."""

from __future__ import annotations

import json
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.http.answer import Answer
from lotus_durable.http.connection import retry_after_seconds
from tests.delivery.scripted_server import BODY, KEY, HttpTransport, ScriptedServer, says, talking

# -- settings of the environment, and what must stay secret --


def test_a_netrc_file_adds_no_authorization(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with talking(says(201)) as (server, transport):
        transport.post_batch(BODY)
    assert "authorization" not in server.requests[0].headers
    assert server.requests[0].headers["x-api-key"] == KEY


def test_a_key_that_a_server_echoes_is_not_in_the_answer() -> None:
    echo = json.dumps({"headers": {"X-Api-Key": KEY}}).encode()
    with talking(says(200, echo)) as (_, transport):
        came_back = transport.post_batch(BODY)
    assert isinstance(came_back, Answer)
    assert json.loads(came_back.body) == {"headers": {"X-Api-Key": "(API key)"}}


def test_a_short_key_does_not_mutilate_an_answer() -> None:
    with ScriptedServer(says(201, b'{"success": "all"}')) as server:
        transport = HttpTransport(server.host, "success")
        assert transport.post_batch(BODY) == Answer(201, "application/json", b'{"success": "all"}')
        transport.close()


def test_neither_repr_nor_str_shows_the_key() -> None:
    transport = HttpTransport("https://lotus.example/", KEY)
    assert repr(transport) == "HttpTransport('https://lotus.example')"
    assert KEY not in str(transport)


# -- Retry-After --

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("3600", 3600.0),
        ("86400", 3600.0),
        ("9" * 10_000, 3600.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW + 90, usegmt=True).replace("GMT", "-0000"), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("Fri, 99 Foo 2023 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, now=NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \S{1,5}", fullmatch=True))
def test_no_retry_after_raises_or_stops_delivery_for_long(value: str) -> None:
    seconds = retry_after_seconds(value, now=NOW)
    assert seconds is None or 0.0 <= seconds <= 3_600.0


def test_retry_after_comes_with_the_answer() -> None:
    with talking(says(429, b"", "Retry-After: 12")) as (_, transport):
        came_back = transport.post_batch(BODY)
    assert isinstance(came_back, Answer)
    assert came_back.retry_after == 12.0
