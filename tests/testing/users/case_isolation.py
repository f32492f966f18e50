"""The tests of that application, which ``tests/testing/test_isolation.py`` runs beside what plays the real server."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import app
import pytest

import lotus_durable as lotus
from lotus_durable.testing import FakeLotus, FakeLotusProcess

WITHIN = """
import app
def test_without_the_fixture():
    app.handle("nobody")
    app.handle_by_client("nobody")
def test_with_it(fake_lotus):
    app.handle("within")
    fake_lotus.wait_for(1)
    assert [event["customer_id"] for event in fake_lotus.events] == ["within"]
"""
TRACK = "import lotus_durable as lotus; lotus.track_event(customer_id='child', event_name='x'); lotus.shutdown(20)"


def customers(server: FakeLotus) -> list[str]:
    assert lotus.drain(20).complete
    return [event["customer_id"] for event in server.events]


def test_without_the_fixture_nothing_is_written_or_sent() -> None:
    app.handle("nobody")
    app.handle_by_client("nobody")
    assert lotus.drain(20).delivered == 0
    assert not Path(app.REAL_QUEUE).exists()


def test_without_the_fixture_a_bad_event_is_refused_all_the_same() -> None:
    with pytest.raises(lotus.InvalidEvent):
        app.handle("")


def test_without_the_fixture_the_calls_are_only_checked() -> None:
    app.sign_up("nobody")


def test_the_fixture_gets_what_the_module_and_a_client_of_its_own_track(fake_lotus: FakeLotus) -> None:
    app.handle("one")
    app.handle_by_client("other")
    assert sorted(customers(fake_lotus)) == ["one", "other"]


def test_the_fixture_gets_the_calls(fake_lotus: FakeLotus) -> None:
    app.sign_up("new")
    assert "new" in fake_lotus.accounts.customers


@pytest.mark.parametrize("number", range(4))
def test_each_test_has_an_empty_queue_and_an_empty_server(fake_lotus: FakeLotus, number: int) -> None:
    assert lotus.stats().accepted == 0
    app.handle(f"customer {number}")
    assert customers(fake_lotus) == [f"customer {number}"]
    app.handle("left in the queue")


def test_events_are_delivered_as_in_production_by_a_flusher_that_nobody_calls(fake_lotus: FakeLotus) -> None:
    app.handle("one")
    fake_lotus.wait_for(1, 20)


@pytest.mark.fake_lotus("L22", customers=["known"])
def test_the_marker_says_which_server_it_is(fake_lotus: FakeLotus) -> None:
    app.handle("known")
    app.handle("unknown")
    lotus.drain(20)
    assert [event["customer_id"] for event in fake_lotus.events] == ["known"]
    assert lotus.stats().parked == 1


def test_a_program_that_a_test_starts_uses_the_same_server_and_queue(fake_lotus: FakeLotus) -> None:
    subprocess.run([sys.executable, "-c", TRACK], check=True, timeout=60)
    assert customers(fake_lotus) == ["child"]


def test_a_program_that_a_test_starts_without_the_fixture_sends_nothing() -> None:
    settings = f"lotus.api_key, lotus.host, lotus.queue_dir = 'real-key', {app.REAL_HOST!r}, {app.REAL_QUEUE!r}; "
    code = TRACK.replace("; ", "; " + settings, 1)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert not Path(app.REAL_QUEUE).exists()


def track_in_child(customer_id: str) -> None:
    lotus.track_event(customer_id=customer_id, event_name="x")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # 3.15 raises for forks beside FakeLotus' threads
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_uses_the_same_server_and_queue(fake_lotus: FakeLotus, method: str) -> None:
    child = multiprocessing.get_context(method).Process(target=track_in_child, args=("child",))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert {*customers(fake_lotus)} - {"of the import"} == {"child"}  # a child that is spawned imports the application


def test_a_test_may_run_tests_of_its_own_which_are_as_isolated(fake_lotus: FakeLotus, tmp_path: Path) -> None:
    (tmp_path / "test_within.py").write_text(WITHIN)
    assert pytest.main(["-q", "-c", "/dev/null", f"--basetemp={tmp_path / 'within'}", str(tmp_path)]) == 0
    app.handle("one")
    app.handle_by_client("other")
    assert sorted(customers(fake_lotus)) == ["one", "other"]


def test_what_a_test_says_of_the_fake_server_stands(fake_lotus: FakeLotus, tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    with lotus.Client(api_key="wrong", host=fake_lotus.host, queue_dir=queue, flusher="external") as client:
        client.track_event(customer_id="c1", event_name="x")
        assert "key" in str(client.drain(20).reason)
    assert queue.is_dir()


def test_a_server_that_a_test_starts_itself_gets_what_is_tracked_for_it() -> None:
    with FakeLotus("L24") as server, lotus.Client(api_key="test-key", host=server.host) as client:
        client.track_event(customer_id="c1", event_name="x")
        assert client.drain(20).complete
        assert server.event_count == 1
        assert client.config.queue_dir != app.REAL_QUEUE


def test_a_server_in_a_process_of_its_own_does_too() -> None:
    with FakeLotusProcess("L24") as server, lotus.Client(api_key="test-key", host=server.host) as client:
        client.track_event(customer_id="c1", event_name="x")
        assert client.drain(20).complete
        assert len(server.ids()) == 1


def test_the_environment_of_a_test_stands(fake_lotus: FakeLotus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTUS_MAX_EVENT_BYTES", "300")
    lotus.max_batch_events = None  # any assignment has the settings read anew
    with pytest.raises(lotus.InvalidEvent, match="over max_event_bytes"):
        lotus.track_event(customer_id="c1", event_name="x", properties={"text": "x" * 400})
    assert lotus.drain(20).complete
    assert fake_lotus.event_count == 0


def test_on_error_of_the_application_is_called(fake_lotus: FakeLotus) -> None:
    told: list[str] = []
    lotus.on_error = lambda error, _: told.append(type(error).__name__)
    lotus.on_invalid = "report"
    try:
        lotus.track_event(customer_id="", event_name="x")
    finally:
        lotus.on_error = lotus.on_invalid = None
    assert told == ["InvalidEvent"]
    assert lotus.drain(20).dead_lettered == 1
    assert fake_lotus.event_count == 0
