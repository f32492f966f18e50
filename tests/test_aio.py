"""Awaitable twins: what the functions do, without holding up the loop; and the examples of the page, served."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lotus_durable as lotus
from lotus_durable import aio
from lotus_durable.testing import Component, Delay, FakeLotus, Faults
from tests.scripts import ROOT, environment

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "async.md").read_text(), flags=re.DOTALL)
WAITING = [name for name in lotus.__all__ if inspect.isfunction(getattr(lotus, name))]
NOT_WAITING = {"track_event", "check_event", "configure"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeLotus]:
    with FakeLotus("L24") as running:
        plan = running.accounts.add_plan("Any", components=[Component("report"), Component("page")])
        running.accounts.add_subscription("customer123", plan)
        lotus.api_key, lotus.host, lotus.queue_dir = running.api_key, running.host, tmp_path / "queue"
        lotus.flusher = "external"
        yield running
        for name in ("api_key", "host", "queue_dir", "flusher"):
            setattr(lotus, name, None)


def stored(server: FakeLotus) -> list[str]:
    assert lotus.drain(20).complete
    return [each["event_name"] for each in server.events if each["idempotency_id"] in server.database]


@pytest.mark.parametrize("name", [name for name in WAITING if name not in NOT_WAITING])
def test_each_function_that_waits_has_a_twin_with_its_signature(name: str) -> None:
    twin, function = getattr(aio, name), getattr(lotus, name)
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(twin) == inspect.signature(function)
    assert inspect.getdoc(twin) == inspect.getdoc(function)


def test_what_does_not_wait_has_no_twin() -> None:
    assert not NOT_WAITING & set(vars(aio))


def test_a_twin_returns_and_raises_what_the_function_does(server: FakeLotus) -> None:
    async def work() -> None:
        lotus.track_event(customer_id="customer123", event_name="report")
        assert (await aio.stats()).pending == 1
        assert (await aio.drain(timeout=20)).delivered == 1
        answer = await aio.get_customer_access(customer_id="customer123", event_name="report")
        assert answer.access is True
        with pytest.raises(lotus.NotFound):
            await aio.get_plan(plan_id="plan_of_nobody")
        with pytest.raises(lotus.InvalidRequest):
            await aio.get_customer(customer_id="")

    asyncio.run(work())
    assert stored(server) == ["report"]


def test_the_loop_goes_on_while_a_twin_waits(server: FakeLotus) -> None:
    server.faults = Faults(path="/api/customers/", script=[Delay(0.5)])

    async def work() -> int:
        call = asyncio.ensure_future(aio.list_customers())
        turns = 0
        while not call.done():
            await asyncio.sleep(0.001)
            turns += 1
        await call
        return turns

    assert asyncio.run(work()) > 10


def test_many_tasks_may_call_at_once(server: FakeLotus) -> None:
    async def work() -> list[Any]:
        calls = [aio.get_customer_access(customer_id="customer123", event_name="report") for _ in range(40)]
        for number in range(40):
            lotus.track_event(customer_id="customer123", event_name=f"event {number}")
        return await asyncio.gather(*calls)

    assert all(answer.access for answer in asyncio.run(work()))
    assert len(stored(server)) == 40


def test_a_method_of_a_client_can_be_awaited_too(server: FakeLotus, tmp_path: Path) -> None:
    async def work() -> int:
        with lotus.Client(
            api_key=server.api_key, host=server.host, queue_dir=tmp_path / "other", flusher="external"
        ) as client:
            client.track_event(customer_id="customer123", event_name="by a client")
            return (await aio.awaitable(client.drain)(timeout=20)).delivered

    assert asyncio.run(work()) == 1


def test_a_task_that_is_cancelled_stops_waiting_at_once(server: FakeLotus) -> None:
    server.faults = Faults(path="/api/customers/", script=[Delay(1.0)])

    async def work() -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.list_customers(), 0.05)
        return time.monotonic() - began

    assert asyncio.run(work()) < 1.0


@pytest.fixture
def page_s_application() -> Any:
    [code] = [each for each in EXAMPLES if "FastAPI(" in each]
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(code, namespace)
    return namespace["app"]


def test_the_page_s_fastapi_application_tracks_for_who_has_access(server: FakeLotus, page_s_application: Any) -> None:
    from fastapi.testclient import TestClient

    server.accounts.add_customer("somebody")
    with TestClient(page_s_application) as browser:
        assert browser.get("/report/customer123").status_code == 200
        assert browser.get("/report/somebody").status_code == 402
    assert stored(server) == ["report"]


def test_the_page_s_lifespan_waits_for_what_the_process_tracked(server: FakeLotus, page_s_application: Any) -> None:
    from fastapi.testclient import TestClient

    lotus.flusher = "auto"
    try:
        with TestClient(page_s_application) as browser:
            assert browser.get("/report/customer123").status_code == 200
        server.wait_for(1)
    finally:
        subprocess.run(
            [sys.executable, "-m", "lotus_durable", "stop", "--queue-dir", str(lotus.queue_dir)],
            check=True,
            timeout=60,
            env=environment(),
            stdout=subprocess.DEVNULL,
        )


def test_the_page_s_django_view_tracks_for_who_has_access(server: FakeLotus, tmp_path: Path) -> None:
    [code] = [each for each in EXAMPLES if each.startswith("import django")]
    program = tmp_path / "views.py"
    program.write_text(
        code
        + "\nimport asyncio, sys"
        + "\nfrom django.test import AsyncClient"
        + "\nsys.modules[__name__] = sys.modules['__main__']"
        + "\nprint(asyncio.run(AsyncClient().get('/')).content.decode())"
    )
    settings = {
        "HOST": server.host,
        "API_KEY": server.api_key,
        "QUEUE_DIR": str(lotus.queue_dir),
        "FLUSHER": "external",
    }
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment(**{f"LOTUS_{name}": value for name, value in settings.items()}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "hello\n", done.stderr
    assert stored(server) == ["page"]


def test_a_process_that_only_tracks_does_not_import_it() -> None:
    code = "import sys, lotus_durable; sys.exit('lotus_durable.aio' in sys.modules or 'asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
