"""What a server's hooks call when its processes end in order."""

from __future__ import annotations

import pytest

from lotus_durable import leaving
from lotus_durable.client import started_clients
from lotus_durable.errors import ConfigurationError
from tests.rig import Rig, our_threads, track, wait_until


def test_all_clients_of_a_process_let_go_and_send_nothing_more(rig: Rig) -> None:
    clients = [rig.client(flush_interval=600.0), rig.client(flusher="external")]
    for client in clients:
        track(client, 2)
    rig.server.wait_for(1)
    assert set(clients) <= set(started_clients())
    received = rig.server.request_count
    leaving.release_all()
    assert not set(clients) & set(started_clients())
    wait_until(lambda: not our_threads(), "its threads to end")
    assert rig.server.request_count == received


def test_the_default_client_is_drained(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    client = rig.client(flusher="external", exit_timeout=20.0)
    monkeypatch.setattr(leaving, "default_client", lambda: client)
    track(client, 3)
    leaving.drain_default()
    assert rig.server.event_count == 3


def test_what_a_drain_leaves_on_disk_is_logged(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = rig.client(flusher="external", exit_timeout=20.0, api_key="wrong")
    monkeypatch.setattr(leaving, "default_client", lambda: client)
    track(client, 3)
    leaving.drain_default()
    assert "3 events stay on disk (the server refuses the API key" in caplog.text


def test_a_wrong_configuration_is_logged_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong() -> None:
        raise ConfigurationError("LOTUS_HOST: a URL is needed")

    monkeypatch.setattr(leaving, "default_client", wrong)
    leaving.drain_default()
    assert "the queue was not drained: LOTUS_HOST: a URL is needed" in caplog.text
