"""Our lines in an application's logs: none feeds a handler that tracks, and ``debug`` shows each once and then none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rig import Rig, faults
from tests.scripts import lines

METERED = """
import json, logging
seen = []
options = json.loads(sys.argv[3])
constants = options.pop("constants", {})
client = make(exit_timeout=0.0, **options, **constants)

class Meter(logging.Handler):
    def emit(self, record):
        seen.append(record.name)
        track(client, name=record.levelname)

def track(client, name):
    client.track_event(customer_id="c1", event_name=name)

logging.getLogger().addHandler(Meter())
logging.getLogger().setLevel(logging.DEBUG)
"""


def metered(rig: Rig, code: str, **options: Any) -> Any:
    """Run an application each of whose log lines is an event; ``code`` says something as JSON at its end."""
    [said] = lines(METERED + code, rig.queue_dir, rig.server.host, json.dumps(options))
    return json.loads(said)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("flusher", ["auto", "external"])
def test_one_line_of_an_application_whose_handler_tracks_is_one_event(rig: Rig, flusher: str, debug: bool) -> None:
    """Also where a drain flushes in the process itself."""
    seen = metered(
        rig,
        """
logging.getLogger("app").warning("one line")
for _ in range(5):
    assert client.drain(20).complete
say(json.dumps(seen))
client.release()
""",
        flusher=flusher,
        debug=debug,
    )
    # What other libraries say of themselves when they are loaded and used is theirs.
    assert [name for name in seen if name.startswith(("lotus_durable", "app"))] == ["app"]
    if flusher == "auto":
        assert [event["event_name"] for event in rig.server.events] == ["WARNING"]


def test_a_trouble_that_is_told_is_one_line_and_one_event_a_minute(rig: Rig) -> None:
    rig.server.rotate_key("another")
    seen = metered(
        rig,
        """
logging.getLogger("app").warning("one line")
wait_until(lambda: "lotus_durable" in seen or track(client, "beat"))
for _ in range(20):
    track(client, "beat")
    client._tracker.look_now()
say(json.dumps(seen))
client.release()
""",
        flusher="auto",
    )
    assert [name for name in seen if name in ("app", "lotus_durable")] == ["app", "lotus_durable"]


def test_who_asks_for_our_steps_by_our_logger_gets_them(rig: Rig) -> None:
    seen = metered(
        rig,
        """
logging.getLogger("lotus_durable").setLevel(logging.DEBUG)
track(client, "x")
assert client.drain(20).complete
say(json.dumps(seen))
client.release()
""",
        flusher="external",
    )
    assert "lotus_durable" in seen


DEBUG = """
import contextlib, gc, io, logging
{configured}

def said(client):
    written = io.StringIO()
    with contextlib.redirect_stderr(written):
        track(client)
        assert client.drain(20).complete
    return sum("sent 1 events" in line for line in written.getvalue().splitlines())

one = make(debug=True)
say(said(one))
other = make(debug=True)
say(said(one), said(other))
del one
say(said(other))
del other
third = make()
say(said(third), logging.getLogger("lotus_durable").level)
fourth = make(debug=True)
say(said(fourth))
third.release()
fourth.release()
"""


@pytest.mark.parametrize("configured", ["", "logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)"])
def test_debug_twice_and_back_shows_each_line_once_and_then_none(rig: Rig, configured: str) -> None:
    said = lines(DEBUG.format(configured=configured), rig.queue_dir, rig.server.host)
    ours = [line for line in said if ":" not in line]
    assert ours == ["1", "1 1", "1", "0 0", "1"]
    assert not [line for line in said if line.startswith("DEBUG:lotus_durable")]


def test_the_module_s_debug_twice_and_back_too(rig: Rig) -> None:
    code = """
import contextlib, io
import lotus_durable as lotus
lotus.configure(api_key="test-key", host=host, queue_dir=queue_dir, flusher="external")

def said():
    written = io.StringIO()
    with contextlib.redirect_stderr(written):
        lotus.track_event(customer_id="c1", event_name="x")
        assert lotus.flush(20)
    return sum("sent 1 events" in line for line in written.getvalue().splitlines())

for debug in (None, True, True, False, True, None):
    lotus.debug = debug
    say(said())
"""
    assert lines(code, rig.queue_dir, rig.server.host) == ["0", "1", "1", "0", "1", "0"]


def test_with_debug_warnings_are_written_once_too(rig: Rig) -> None:
    rig.server.faults = faults()
    code = """
import contextlib, io
client = make(debug=True, on_invalid="report")
written = io.StringIO()
with contextlib.redirect_stderr(written):
    client.track_event(customer_id="", event_name="x")
say(written.getvalue().count("an event is refused"))
client.release()
"""
    assert lines(code, rig.queue_dir, rig.server.host) == ["1"]
