"""The API key appears in no log, error, repr, traceback or file of ours."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from lotus_durable.client import Client
from lotus_durable.testing import FakeLotus
from lotus_durable.testing.faults import Faults, Redirect, Reset, Status

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk_live_1234567890abcdef.secretpart"


def test_the_api_key_is_nowhere_but_in_the_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    echo = f"bad key {KEY}"
    faults = Faults(
        script=[
            Status(500, body=echo),
            Redirect(f"http://127.0.0.1:1/?{KEY}", 302),
            Reset("after_storing"),
            Status(403, body=echo),
        ]
    )
    with FakeLotus("L24", api_key=KEY, faults=faults) as server, caplog.at_level(logging.DEBUG):
        client = Client(
            api_key=KEY,
            host=server.host,
            queue_dir=tmp_path / "queue",
            probe_interval=0.05,
            on_error=lambda error, events: told.append((repr(error), traceback.format_exception(error), events)),
        )
        client.track_event(customer_id="c", event_name="x")
        reasons = [client.drain(0.5) for _ in range(3)]
        shown = repr([client, client.config, client.stats(), reasons, told, vars(client)])
        server.faults = Faults()
        client.drain(20)
        client.shutdown()
        assert any(request.headers.get("x-api-key") == KEY for request in server.requests)
    with pytest.raises(TypeError, match="cannot be pickled") as refused:
        pickle.dumps(client)
    files = b"".join(path.read_bytes() for path in (tmp_path / "queue").rglob("*") if path.is_file())
    assert KEY.encode() not in files
    for text in (shown, caplog.text, str(refused.value)):
        assert KEY not in text
