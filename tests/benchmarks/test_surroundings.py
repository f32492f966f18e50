from __future__ import annotations

from pathlib import Path

import lotus_durable
from benchmarks.server import Server
from benchmarks.surroundings import flushers_of, scratch


def test_a_flusher_is_found_by_its_folder_and_is_gone_when_that_is_removed(tmp_path: Path, sink: Server) -> None:
    with scratch(tmp_path) as folder:
        client = lotus_durable.Client(api_key="key", host=sink.url, queue_dir=folder / "queue")
        client.track_event(customer_id="customer-123", event_name="api_call")
        sink.wait_for(1, 30)
        assert len(flushers_of(folder)) == 1
        client.release()
    assert flushers_of(folder) == []
    assert not folder.exists()
