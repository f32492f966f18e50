"""An application's tests beside other tools: a row of the table in docs/testing.md each, by the name of the test.

``tests/testing/test_isolation.py`` runs them.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import app
import freezegun
import pytest
import pytest_socket
import requests
import requests_mock
import responses
import time_machine
import vcr

import lotus_durable as lotus
from lotus_durable.testing import FakeLotus

THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SAID = "2026-01-02T03:04:05.000000Z"


def delivered(server: FakeLotus) -> list[dict[str, object]]:
    report = lotus.drain(20)
    assert report.complete, report
    return server.events


def test_freezegun(fake_lotus: FakeLotus) -> None:
    with freezegun.freeze_time(THEN) as frozen:
        app.handle("c1")
        frozen.tick(60)
        app.handle("c2")
        assert [event["time_created"] for event in delivered(fake_lotus)] == [SAID, "2026-01-02T03:05:05.000000Z"]


def test_freezegun_does_not_keep_a_drain_from_ending(fake_lotus: FakeLotus) -> None:
    fake_lotus.stop()
    with freezegun.freeze_time(THEN):
        app.handle("c1")
        assert not lotus.drain(0.5).complete


def test_time_machine(fake_lotus: FakeLotus) -> None:
    with time_machine.travel(THEN, tick=False):
        app.handle("c1")
        assert [event["time_created"] for event in delivered(fake_lotus)] == [SAID]


def test_time_machine_does_not_keep_a_drain_from_ending(fake_lotus: FakeLotus) -> None:
    fake_lotus.stop()
    with time_machine.travel(THEN, tick=False):
        app.handle("c1")
        assert not lotus.drain(0.5).complete


@responses.activate
def test_responses(fake_lotus: FakeLotus) -> None:
    """It takes the application's requests, and none of ours."""
    responses.get("https://elsewhere.example/", body="mocked")
    assert requests.get("https://elsewhere.example/", timeout=5).text == "mocked"
    app.handle("c1")
    app.sign_up("c1")
    assert len(delivered(fake_lotus)) == 1
    assert "c1" in fake_lotus.accounts.customers
    assert len(responses.calls) == 1


def test_requests_mock(fake_lotus: FakeLotus) -> None:
    """The same."""
    with requests_mock.Mocker() as mocked:
        mocked.get("https://elsewhere.example/", text="mocked")
        assert requests.get("https://elsewhere.example/", timeout=5).text == "mocked"
        app.handle("c1")
        app.sign_up("c1")
        assert len(delivered(fake_lotus)) == 1
        assert mocked.call_count == 1
    assert "c1" in fake_lotus.accounts.customers


def test_vcr(fake_lotus: FakeLotus, tmp_path: Path) -> None:
    """Nothing of ours is recorded or played, also where the first call of all is made while a cassette is in."""
    cassette = tmp_path / "cassette.yaml"
    with vcr.use_cassette(str(cassette)):
        requests.get(f"{fake_lotus.host}/of-the-application/", timeout=5)
        app.handle("c1")
        app.sign_up("c1")
        assert len(delivered(fake_lotus)) == 1
    assert "/of-the-application/" in cassette.read_text()
    assert "/api/" not in cassette.read_text()
    with vcr.use_cassette(str(cassette), record_mode="none"):
        app.sign_up("c2")
    app.sign_up("c3")
    assert {"c1", "c2", "c3"} <= set(fake_lotus.accounts.customers)


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
@pytest.mark.allow_hosts(["127.0.0.1"])
def test_pytest_socket(fake_lotus: FakeLotus) -> None:
    """With ``--allow-hosts=127.0.0.1`` everything works; nothing else can be reached."""
    app.handle("c1")
    app.sign_up("c1")
    assert len(delivered(fake_lotus)) == 1
    with pytest.raises(pytest_socket.SocketConnectBlockedError):
        requests.get("http://192.0.2.1/", timeout=1)


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
@pytest.mark.disable_socket
def test_pytest_socket_without_any_socket() -> None:
    """With ``--disable-socket`` tracking works, as it needs none; ``fake_lotus`` does, to be a server."""
    app.handle("c1")
    with pytest.raises(pytest_socket.SocketBlockedError):
        socket.socket()
