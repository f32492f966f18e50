"""The API key appears in no log, error, repr, traceback, file or process list of ours."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.testing.faults import Faults, Redirect, Reset, Status
from tests.rig import Rig, faults, rigs, track, wait_until  # noqa: F401  # a fixture

KEY = "sk_live_1234567890abcdef.secretpart"


@pytest.mark.parametrize("flusher", ["external", "auto"])
@pytest.mark.parametrize("make_faults", [faults, Faults], ids=["of track", "of ping too"])
def test_the_api_key_is_nowhere_but_in_the_request(
    rigs: Callable[..., Rig],  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    make_faults: Callable[..., Faults],
    flusher: str,
) -> None:
    told: list[Any] = []
    echo = f"bad key {KEY}"
    script = [
        Status(500, body=echo),
        Redirect(f"http://127.0.0.1:1/?{KEY}", 302),
        Reset("after_storing"),
        Status(403, body=echo),
    ]
    rig = rigs(api_key=KEY, faults=make_faults(script=script))
    caplog.set_level(logging.DEBUG)
    client = rig.client(
        api_key=KEY,
        flusher=flusher,
        on_error=lambda error, events: told.append((repr(error), traceback.format_exception(error), events)),
    )
    track(client, 1)
    reasons = [client.drain(0.5) for _ in range(3)]
    wait_until(lambda: not rig.server.faults.left_in_script or client.drain(0.5), "all faults")
    shown = repr([client, client.config, stats := client.stats(), reasons, told, vars(client)])
    wait_until(lambda: client.drain(20).complete, "a drain")
    if stats.flusher is not None:
        process = Path("/proc", str(stats.flusher.pid))
        shown += repr([(process / name).read_bytes() for name in ("cmdline", "environ", "comm")])
    parked = client.stats().parked  # by the 403, where the empty batch of before it passed
    client.shutdown()
    assert any(request.headers.get("x-api-key") == KEY for request in rig.server.requests)
    assert rig.server.event_count == 1 or parked == 1
    with pytest.raises(TypeError, match="cannot be pickled") as refused:
        pickle.dumps(client)
    files = b"".join(path.read_bytes() for path in rig.queue_dir.rglob("*") if path.is_file())
    assert KEY.encode() not in files
    for text in (shown, caplog.text, str(refused.value)):
        assert KEY not in text
