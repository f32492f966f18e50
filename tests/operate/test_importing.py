"""Import: all of a file or nothing, with ids and times, once."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.errors import ConfigurationError, QueueFull
from lotus_durable.operate import importing
from lotus_durable.operate.importing import Imported, import_events
from lotus_durable.queue.directory import QueueDirectory
from tests.rig import Rig, conserved, now_text

from .killing import killed


def lines(count: int, **fields: Any) -> bytes:
    events = (
        {"idempotency_id": f"id{n}", "customer_id": "c1", "event_name": "call", "time_created": now_text(), **fields}
        for n in range(count)
    )
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_events_keep_their_ids_times_and_properties(rig: Rig) -> None:
    data = lines(3, time_created="2026-11-20T01:02:03.5+01:00", properties={"mb": 1.5}, more="is nothing to us")
    assert import_events(rig.config(), io.BytesIO(data)) == Imported(3, 0, [])
    assert rig.stats().pending == 3
    assert rig.client().drain().complete
    assert set(rig.server.times_received) == {"id0", "id1", "id2"}
    sent = rig.posts[-1].json()["batch"][0]
    assert (sent["time_created"], sent["properties"]) == ("2026-11-20T00:02:03.500000Z", {"mb": 1.5})


def test_two_imports_of_one_file_at_once_take_it_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    both_have_looked = threading.Barrier(2)
    was_imported = importing._was_imported

    def watched(directory: QueueDirectory, segment: bytes) -> bool:
        found = was_imported(directory, segment)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_have_looked.wait(1.0)
        return found

    monkeypatch.setattr(importing, "_was_imported", watched)
    data = lines(3)
    with ThreadPoolExecutor() as threads:
        done = list(threads.map(lambda _: import_events(rig.config(), io.BytesIO(data)), range(2)))
    assert sorted(each.events for each in done) == [0, 3]
    assert rig.client().drain().complete
    stats = rig.stats()
    assert (stats.accepted, stats.delivered, stats.pending) == (3, 3, 0)


def test_a_file_is_taken_once(rig: Rig) -> None:
    data = lines(3)
    import_events(rig.config(), io.BytesIO(data))
    assert import_events(rig.config(), io.BytesIO(data)) == Imported(0, 0, [], already=True)
    assert rig.client().drain().complete  # its segment is deleted, and the books know it
    assert import_events(rig.config(), io.BytesIO(data)).already
    assert rig.stats().accepted == 3
    assert import_events(rig.config(), io.BytesIO(data), again=True).events == 3
    assert rig.stats().accepted == 6


def test_lines_that_are_no_events_are_named_and_nothing_is_taken(rig: Rig) -> None:
    data = lines(1) + b'{"customer_id": 3.5, "event_name": "x"}\n[]\nno json\n{"customer_id": "c1"}\n\n' + lines(1)
    with pytest.raises(
        ConfigurationError, match=r"4 of the lines are no events, nothing was imported .*: line 2: customer"
    ):
        import_events(rig.config(), io.BytesIO(data))
    assert rig.directory.segments() == rig.directory.unfinished() == []
    result = import_events(rig.config(), io.BytesIO(data), skip_invalid=True)
    assert (result.events, result.skipped) == (2, 4)
    assert [problem.partition(":")[0] for problem in result.problems] == ["line 2", "line 3", "line 4", "line 5"]


def test_a_name_is_as_long_as_track_event_takes_it(rig: Rig) -> None:
    data = lines(1, event_name="n" * 200)
    with pytest.raises(ConfigurationError, match="line 1: event_name: has 200 characters"):
        import_events(rig.config(), io.BytesIO(data))
    assert import_events(rig.config(api_version="2022"), io.BytesIO(data)).events == 1


def test_what_has_no_room_is_not_begun(rig: Rig) -> None:
    size = 64 * 1024 * 1024
    with pytest.raises(QueueFull, match="nothing was imported"):
        import_events(rig.config(max_queue_bytes=size), io.BytesIO(lines(30_000, properties={"text": "x" * 3000})))
    assert rig.directory.segments() == rig.directory.unfinished() == []


@pytest.mark.parametrize(
    ("step", "number"),
    [("before an event is written", 1), ("before an event is written", 50), ("before it is finished", 1),
     ("after it is finished", 1), ("before it is published", 1), ("after it is published", 1)],
)  # fmt: skip
def test_a_kill_at_any_step_loses_and_doubles_nothing(rig: Rig, tmp_path: Path, step: str, number: int) -> None:
    file = tmp_path / "history.jsonl"
    file.write_bytes(lines(100))
    code = (
        f"from lotus_durable.operate.importing import import_events\nimport_events(config, open({str(file)!r}, 'rb'))"
    )
    killed(rig, code, step, number)
    with file.open("rb") as again:
        result = import_events(rig.config(), again)
    assert result.already == (step == "after it is published")
    assert rig.client().drain().complete
    assert dict(rig.server.times_received) == {f"id{n}": 1 for n in range(100)}
    stats = rig.stats()
    assert (stats.accepted, stats.delivered) == (100, 100)
    assert conserved(stats)
