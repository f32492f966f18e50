"""FakeLotus in a process of its own, and its control endpoints."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from lotus_durable.testing import FakeLotus, FakeLotusProcess, Faults, RefuseEvents, Status
from lotus_durable.testing.__main__ import ControlledLotus

from .conftest import Event, RawClient


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeLotusProcess]:
    """One server for the tests that do not mind what others left in it."""
    with FakeLotusProcess("L22", customers=["c1"]) as server:
        yield server


def track(server: FakeLotusProcess, *events: object, key: str | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.host).port, timeout=10)
    headers = {"X-API-KEY": key or server.api_key, "Content-Type": "application/json"}
    try:
        connection.request("POST", "/api/track/", json.dumps({"batch": events}), headers)
        answer = connection.getresponse()
        body = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(body) if is_json else None
    finally:
        connection.close()


def test_it_serves_counts_and_lists_ids(event: Event) -> None:
    with FakeLotusProcess("L22") as server:
        assert track(server, event("a"), event("b"))[0] == 201
        assert track(server, event("b"), event("c"))[0] == 201
        assert server.ids() == {"a": 1, "b": 2, "c": 1}
        assert server.state() == {
            "generation": "L22",
            "events": 3,
            "duplicates": 1,
            "requests": 2,
            "answers": {"201": 2},
            "faults": {},
        }


def test_faults_can_be_given_from_the_start_and_changed(event: Event) -> None:
    with FakeLotusProcess("L22", faults=Faults(script=[Status(503)])) as server:
        assert track(server, event("a"))[0] == 503
        server.set_faults(Faults(rates={RefuseEvents("no"): 1.0}))
        assert track(server, event("a"))[1]["failed_events"] == {"a": "no"}
        server.set_faults(None)
        assert track(server, event("a"))[0] == 201
        assert server.state()["faults"] == {"Status": 1, "RefuseEvents": 1}


def test_a_server_that_knows_nobody_refuses_everybody(event: Event) -> None:
    with FakeLotusProcess("L22", customers=[]) as server:
        assert track(server, event("a"))[0] == 400


def test_it_can_go_away_and_come_back(event: Event, once_back: Callable[..., Any]) -> None:
    with FakeLotusProcess("L22") as server:
        server.go_away(0.02)
        assert once_back(lambda: track(server, event("a")))[0] == 201
        assert server.ids() == {"a": 1}
        server.go_away(60)
        with pytest.raises(ConnectionRefusedError):
            track(server, event("b"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("set_faults", {"faults": {"script": [{"kind": "Explosion"}]}}),
        ("go_away_for", {"seconds": "some"}),
        ("go_away_for", {}),
        ("rotate_key", {"new": "key"}),
        ("stop", {}),
    ],
)
def test_an_order_it_does_not_understand_is_refused(
    shared: FakeLotusProcess, name: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(RuntimeError, match=f"refuses {name}"):
        shared._order(name, **arguments)
    assert shared.state()["generation"] == "L22"


def test_a_killed_server_begins_anew(event: Event) -> None:
    with FakeLotusProcess("L22") as server:
        track(server, event("a"))
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            server.ids()
        server.start()
        assert server.ids() == {}


def test_starting_twice_and_stopping_twice_is_once(shared: FakeLotusProcess) -> None:
    host = shared.host
    assert shared.start().host == host
    other = FakeLotusProcess()
    other.stop()
    other.kill()
    with pytest.raises(RuntimeError, match="not started"):
        _ = other.host


def test_a_forked_child_can_ask_but_not_stop(shared: FakeLotusProcess) -> None:
    child = os.fork()
    if child == 0:
        try:
            shared.ids()
            shared.stop()
            shared.kill()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert shared.state()["generation"] == "L22"


def test_a_port_that_is_taken_fails_the_start(shared: FakeLotusProcess, capfd: pytest.CaptureFixture[str]) -> None:
    taken = urlsplit(shared.host).port
    assert taken is not None
    with pytest.raises(RuntimeError, match="did not start"):
        FakeLotusProcess(port=taken).start()
    assert "Address already in use" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "lotus_durable.testing"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(number)
        assert process.wait(10) == 0


def test_it_ends_when_its_starter_dies() -> None:
    starter = (
        "from lotus_durable.testing import FakeLotusProcess; import os\n"
        "print(FakeLotusProcess().start()._process.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
    descriptor = _pidfd(pid)
    if descriptor is not None:
        import select

        readable, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        assert readable


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None when it has ended already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


@pytest.mark.parametrize(
    "options",
    [
        '{"faults": {"script": [{"kind": "Explosion"}]}}',
        "{",
        "[]",
        '{"generation": "L23"}',
        '{"some": 1}',
        '{"port": 99999}',
    ],
)
def test_options_that_are_wrong_are_told(options: str) -> None:
    command = [sys.executable, "-m", "lotus_durable.testing", options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"{options}: ")


def test_control_endpoints_take_no_part_in_faults_and_are_not_recorded(connect: Callable[..., RawClient]) -> None:
    with ControlledLotus(faults=Faults(script=[Status(503)], path="/")) as server:
        assert connect(server).request("POST", "/_fake/counts").json()["requests"] == 0
        assert server.faults.left_in_script == 1


def test_no_control_endpoints_unless_asked_for(
    start: Callable[..., FakeLotus], connect: Callable[..., RawClient]
) -> None:
    assert connect(start()).request("POST", "/_fake/counts").status == 404
