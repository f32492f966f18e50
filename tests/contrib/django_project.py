"""A Django project in one file, run as a program: each scenario tracks for a customer of its name.

Arguments: the server's URL, the queue directory. It prints a JSON object: what each scenario says.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import unittest
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client as Browser
from django.urls import path

host, queue_dir = sys.argv[1], Path(sys.argv[2])
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "ATOMIC_REQUESTS": True}
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="__main__",
    LOGGING_CONFIG=None,
    INSTALLED_APPS=["lotus_durable.contrib.django"],
    LOTUS={"API_KEY": "test-key", "HOST": host, "QUEUE_DIR": queue_dir, "FLUSHER": "external"},
    DATABASES={
        "default": {**SQLITE, "NAME": queue_dir.parent / "default.db", "TEST": {"NAME": queue_dir.parent / "test.db"}},
        "other": {**SQLITE, "NAME": queue_dir.parent / "other.db", "TEST": {"NAME": queue_dir.parent / "test2.db"}},
    },
)
django.setup()

from asgiref.sync import sync_to_async  # noqa: E402
from django.db import connections, transaction  # noqa: E402
from django.test import RequestFactory, TestCase  # noqa: E402
from django.test.utils import override_settings  # noqa: E402

import lotus_durable as lotus  # noqa: E402
from lotus_durable.contrib.django import track_on_commit  # noqa: E402

SCENARIOS: dict[str, Callable[[], Any]] = {}


class Oops(Exception):
    """What a view raises."""


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    SCENARIOS[function.__name__] = function
    return function


def pending() -> int:
    return lotus.stats().pending


@scenario
def commit() -> dict[str, Any]:
    properties = {"amount": 1}
    before = pending()
    with transaction.atomic():
        event_id = track_on_commit(customer_id="commit", event_name="kept", properties=properties)
        properties["amount"] = 2
        inside = pending()
    return {"id": event_id, "inside": inside - before, "after": pending() - before}


@scenario
def autocommit() -> int:
    before = pending()
    track_on_commit(customer_id="autocommit", event_name="kept")
    return pending() - before


@scenario
def rollback() -> None:
    try:
        with transaction.atomic():
            track_on_commit(customer_id="rollback", event_name="dropped")
            raise Oops
    except Oops:
        track_on_commit(customer_id="rollback", event_name="after it")


@scenario
def savepoints() -> None:
    track = partial(track_on_commit, customer_id="savepoints")
    with transaction.atomic():
        track(event_name="outer")
        try:
            with transaction.atomic():
                track(event_name="rolled back")
                with transaction.atomic():
                    track(event_name="released inside of it")
                raise Oops
        except Oops:
            track(event_name="after it")
        with transaction.atomic():
            track(event_name="released")


@scenario
def released_and_rolled_back() -> None:
    try:
        with transaction.atomic():
            with transaction.atomic():
                track_on_commit(customer_id="released_and_rolled_back", event_name="dropped")
            raise Oops
    except Oops:
        pass


@scenario
def another_database() -> dict[str, int]:
    before = pending()
    with transaction.atomic():
        with transaction.atomic(using="other"):
            track_on_commit(customer_id="another_database", event_name="of the other", using="other")
            track_on_commit(customer_id="another_database", event_name="of the default")
        of_other = pending() - before
    return {"of other": of_other, "of both": pending() - before}


@scenario
def refused() -> str:
    try:
        with transaction.atomic():
            track_on_commit(customer_id="refused", event_name="x", properties={"amount": float("nan")})
    except lotus.InvalidEvent as error:
        return str(error)
    return "accepted"


@scenario
def told() -> dict[str, Any]:
    """What fails after the commit fails nobody: not the code around it, not the callbacks after it."""
    found: dict[str, Any] = {"errors": [], "callbacks": []}

    def keep(error: Exception, events: list[dict[str, Any]]) -> None:
        found["errors"].append((type(error).__name__, [event["customer_id"] for event in events]))

    client = lotus.Client(api_key="test-key", host=host, queue_dir=queue_dir, on_error=keep)
    with transaction.atomic():
        track_on_commit(customer_id="told", event_name="x", client=client)
        transaction.on_commit(lambda: found["callbacks"].append("the next"))
        client.track_event = _full  # type: ignore[method-assign]
    return found


def _full(**_: object) -> str:
    raise lotus.QueueFull("the queue is full")


@scenario
def skipped() -> list[str]:
    """A callback of the application's that is not robust, and before ours, keeps Django from calling ours."""
    said = []
    try:
        with transaction.atomic():
            transaction.on_commit(_fail)
            track_on_commit(customer_id="skipped", event_name="x")
    except Oops:
        said.append("raised after the commit")
    return said


def _fail() -> None:
    raise Oops


@scenario
def autocommit_off() -> list[str]:
    said = []
    transaction.set_autocommit(False)
    try:
        for context in (transaction.atomic, transaction.mark_for_rollback_on_error):
            try:
                with context():
                    track_on_commit(customer_id="autocommit_off", event_name="x")
            except lotus.ConfigurationError as error:
                said.append(str(error))
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    return said


# Requests


def _track(request: HttpRequest, name: str) -> None:
    track_on_commit(customer_id=request.path.strip("/"), event_name=name)


def good(request: HttpRequest) -> HttpResponse:
    _track(request, "kept")
    return HttpResponse("good")


def raises(request: HttpRequest) -> HttpResponse:
    _track(request, "dropped")
    raise Oops


def answers_500(request: HttpRequest) -> HttpResponse:
    _track(request, "kept")
    return HttpResponse("bad", status=500)


def marked(request: HttpRequest) -> HttpResponse:
    _track(request, "dropped")
    transaction.set_rollback(True)
    return HttpResponse("bad", status=500)


def streams(request: HttpRequest) -> StreamingHttpResponse:
    before = pending()

    def chunks() -> Iterator[str]:
        yield f"{pending() - before} "
        _track(request, "in the stream")
        yield f"{pending() - before}"

    _track(request, "before the stream")
    return StreamingHttpResponse(chunks())


async def in_async(request: HttpRequest) -> HttpResponse:
    def work(*, fails: bool) -> None:
        with transaction.atomic():
            _track(request, "dropped" if fails else "kept")
            if fails:
                raise Oops

    await sync_to_async(work)(fails=False)
    try:
        await sync_to_async(work)(fails=True)
    except Oops:
        lotus.track_event(customer_id=request.path.strip("/"), event_name="by the view itself")
    return HttpResponse("good")


in_async = transaction.non_atomic_requests(using="default")(transaction.non_atomic_requests(using="other")(in_async))
VIEWS = (good, raises, answers_500, marked, streams, in_async)
urlpatterns = [path(view.__name__ + "/", view) for view in VIEWS]


@scenario
def requests() -> dict[str, Any]:
    browser = Browser(raise_request_exception=False)
    found: dict[str, Any] = {}
    for view in VIEWS:
        answer = browser.get(f"/{view.__name__}/")
        body = b"".join(answer.streaming_content) if answer.streaming else b""
        found[view.__name__] = (answer.status_code, body.decode())
    return found


@scenario
def asgi() -> int:
    from django.test import AsyncClient

    return int(asyncio.run(AsyncClient().get("/in_async/")).status_code)


# Tests of users


class Case(TestCase):  # type: ignore[misc]  # Django has no types
    databases = ("default", "other")

    def test_without_capture(self) -> None:
        good(RequestFactory().get("/test_without_capture/"))

    def test_with_capture(self) -> None:
        before = pending()
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            good(RequestFactory().get("/test_with_capture/"))
            assert pending() == before
        assert (len(callbacks), pending()) == (1, before + 1)

    def test_overridden(self) -> None:
        with override_settings(LOTUS={**settings.LOTUS, "SEND": False, "MAX_EVENT_BYTES": 300}):
            assert (lotus.send, lotus.max_event_bytes) == (False, 300)
            lotus.track_event(customer_id="test_overridden", event_name="not written")
        assert (lotus.send, lotus.max_event_bytes) == (None, None)
        with override_settings(LOTUS_EVENT_NAME="none of ours", LOTUS_SEND=False):
            assert lotus.send is False
        lotus.track_event(customer_id="test_overridden", event_name="written")


@scenario
def users_tests() -> dict[str, Any]:
    from django.test.utils import get_runner

    result = get_runner(settings)(verbosity=0, interactive=False)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Case)
    databases = result.setup_databases()
    outcome = result.run_suite(suite)
    result.teardown_databases(databases)
    return {"run": outcome.testsRun, "failed": [text for _, text in (*outcome.failures, *outcome.errors)]}


if __name__ == "__main__":
    logging.basicConfig(filename=queue_dir.parent / "log")
    call_command("migrate", verbosity=0)
    said = {"django": django.get_version()}
    for name, function in SCENARIOS.items():
        said[name] = function()
    for connection in connections.all():
        connection.close()
    report = lotus.drain(30)
    assert report.complete, report
    sys.stdout.write(json.dumps(said))
