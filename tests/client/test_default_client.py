"""The default client behind the module's functions, in this process."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lotus_durable as lotus
from lotus_durable import settings as default
from lotus_durable.errors import ConfigurationError, DiskRefused, LotusError, QueueDirectoryError
from tests.queue.faults import full_disk
from tests.rig import Rig, track


@pytest.fixture
def module(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """The module's settings made for a rig, and no default client before and after."""
    monkeypatch.setattr(lotus, "api_key", "test-key")
    monkeypatch.setattr(lotus, "host", rig.server.host)
    monkeypatch.setattr(lotus, "queue_dir", rig.queue_dir)
    monkeypatch.setattr(lotus, "flush_interval", 0.02)
    monkeypatch.setattr(lotus, "flusher", "external")
    yield rig
    default.renew()


def event() -> str:
    return lotus.track_event(customer_id="c", event_name="e")


def test_the_functions_are_those_of_one_client(module: Rig) -> None:
    ids = [event() for _ in range(3)]
    report = lotus.drain(20)
    assert (report.complete, lotus.flush(20)) == (True, True)
    assert lotus.stats().delivered == 3
    assert default.client() is default.client()
    lotus.join(20)
    lotus.shutdown(20)
    assert module.check(ids).delivered == 3


def test_a_queue_directory_that_others_can_write_to_is_an_error_until_it_is_safe(module: Rig) -> None:
    module.queue_dir.mkdir(mode=0o777)
    module.queue_dir.chmod(0o777)
    for _ in range(3):
        with pytest.raises(QueueDirectoryError, match="can be written by others"):
            event()
    module.queue_dir.chmod(0o700)
    ids = [event()]
    assert lotus.flush(20)
    assert module.check(ids).delivered == 1


def test_a_file_in_the_place_of_the_queue_directory_is_an_error_until_it_is_gone(module: Rig) -> None:
    module.queue_dir.touch()
    with pytest.raises(QueueDirectoryError, match=str(module.queue_dir)):
        event()
    module.queue_dir.unlink()
    ids = [event()]
    assert lotus.flush(20)
    assert module.check(ids).delivered == 1


def test_a_queue_directory_that_has_worked_and_is_spoilt_later_is_no_error_of_the_event(
    module: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[LotusError] = []
    monkeypatch.setattr(lotus, "on_error", lambda error, _events: errors.append(error))
    event()
    shutil.rmtree(module.queue_dir)
    module.queue_dir.touch()
    for pair in default.client()._tracker.pairs:
        pair.appender.checked_at = math.inf  # or it is trusted for a moment that nothing has changed
    ids = [event() for _ in range(3)]
    assert default.client()._tracker.in_memory() == 3
    with pytest.raises(DiskRefused):
        lotus.stats()
    assert [type(error) for error in errors if isinstance(error, DiskRefused)] == [DiskRefused]
    assert caplog.text.count("takes no writes") == 1
    module.queue_dir.unlink()
    ids += [event()]
    assert lotus.stats().in_memory == 0
    assert lotus.flush(20)
    assert set(ids) <= set(module.server.times_received)


@pytest.mark.parametrize(
    ("setting", "value"), [("flush_interval", 0.03), ("backend", "sqlite"), ("queue_dir", "other"), ("send", False)]
)
def test_a_setting_changed_while_the_disk_is_full_loses_nothing(
    module: Rig, monkeypatch: pytest.MonkeyPatch, setting: str, value: object
) -> None:
    ids = [event()]
    with full_disk(where=str(module.queue_dir)):
        ids += [event() for _ in range(3)]
        monkeypatch.setattr(lotus, setting, module.queue_dir.parent / "other" if setting == "queue_dir" else value)
        if setting in ("flush_interval", "backend"):
            assert lotus.stats().in_memory == 3
        event()
    default.client()._tracker.look_now()
    monkeypatch.undo()
    assert module.client().drain(20).complete
    assert set(ids) <= set(module.server.times_received)


def test_ending_what_never_began_makes_no_client(module: Rig) -> None:
    lotus.join()
    lotus.shutdown()
    assert default._client is None
    assert not module.queue_dir.exists()


def test_each_setting_takes_effect_at_the_next_call(module: Rig, tmp_path: Path) -> None:
    ids = [event()]
    assert lotus.flush(20)
    lotus.queue_dir = tmp_path / "elsewhere"
    event()
    assert lotus.flush(20)
    assert lotus.stats().accepted == 1
    lotus.queue_dir = module.queue_dir
    lotus.send = False
    event()
    assert lotus.stats().accepted == 1
    lotus.send = None
    ids.append(event())
    assert lotus.stats().accepted == 2
    assert lotus.flush(20)
    del lotus.send  # as monkeypatch does
    ids.append(event())
    assert lotus.flush(20)
    lotus.send = None
    default.renew()
    assert module.server.event_count == 4
    assert set(ids) < set(module.server.times_received)


def test_a_wrong_setting_is_an_error_until_it_is_corrected(module: Rig) -> None:
    lotus.flush_interval = -1
    with pytest.raises(ConfigurationError, match=r"lotus_durable\.flush_interval: at least"):
        event()
    lotus.flush_interval = 0.02
    ids = [event()]
    assert lotus.flush(20)
    assert module.check(ids).delivered == 1


def test_settings_changed_while_other_threads_track_lose_nothing(module: Rig) -> None:
    ended = threading.Event()

    def go_on() -> list[str]:
        ids = []
        while not ended.is_set():
            ids.append(event())
        return ids

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(go_on) for _ in range(4)]
        for number in range(20):
            lotus.flush_interval = 0.02 + number / 1000
            event()
        ended.set()
        ids = [each for future in futures for each in future.result()]
    assert lotus.flush(60)
    assert lotus.stats().accepted == len(ids) + 20
    assert set(ids) <= set(module.server.times_received)


def test_a_client_that_was_replaced_still_keeps_what_it_is_given(module: Rig) -> None:
    ids = [event()]
    old = default.client()
    lotus.flush_interval = 0.03
    ids += track(old, 3)
    ids.append(event())
    assert lotus.flush(20)
    default.renew()
    assert module.check(ids).delivered == 5
