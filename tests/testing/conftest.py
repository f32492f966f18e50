"""A client that hides nothing: http.client on one connection, every header as written."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from lotus_durable.testing import FakeLotus

Event = Callable[..., dict[str, Any]]
Start = Callable[..., FakeLotus]
Connect = Callable[..., "RawClient"]

NOW = datetime(2024, 2, 19, 12, 0, 0, 500_000, tzinfo=UTC)
"""The server's clock in tests that need one."""


@dataclass(frozen=True)
class RawAnswer:
    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """One keep-alive connection to a server."""

    def __init__(self, server: Any, timeout: float = 10.0) -> None:
        self.server = server
        self.connection = http.client.HTTPConnection(urlsplit(server.host).netloc, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        key: str | None = "test-key",
        content_type: str | None = "application/json",
        headers: Mapping[str, str] | None = None,
        chunked: bool = False,
    ) -> RawAnswer:
        all_headers = dict(headers or {})
        if key is not None:
            all_headers["X-API-KEY"] = key
        if content_type is not None:
            all_headers["Content-Type"] = content_type
        if chunked:
            all_headers["Transfer-Encoding"] = "chunked"
        content = iter([body]) if chunked and body is not None else body
        try:
            self.connection.request(method, path, content, all_headers, encode_chunked=chunked)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()  # the next request connects anew
            raise
        return RawAnswer(answer.status, answer.headers.get("Content-Type", ""), text, dict(answer.headers))

    def get(self, path: str, **query: str) -> RawAnswer:
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: object = None, **options: Any) -> RawAnswer:
        return self.request("POST", path, json.dumps({} if body is None else body).encode(), **options)

    def track(self, *events: object, **options: Any) -> RawAnswer:
        return self.track_raw(json.dumps({"batch": events}).encode(), **options)

    def track_raw(self, body: bytes, **options: Any) -> RawAnswer:
        return self.request("POST", "/api/track/", body, **options)


@pytest.fixture
def connect() -> Iterator[Callable[..., RawClient]]:
    """Connect to a server; every connection is closed after the test."""
    clients: list[RawClient] = []

    def connect_to(server: Any, timeout: float = 10.0) -> RawClient:
        clients.append(RawClient(server, timeout))
        return clients[-1]

    yield connect_to
    for client in clients:
        client.connection.close()


@pytest.fixture
def server(start: Callable[..., FakeLotus]) -> FakeLotus:
    return start("L24")


@pytest.fixture
def client(server: FakeLotus, connect: Callable[..., RawClient]) -> RawClient:
    return connect(server)


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """Build an event that both generations accept; ``None`` as a value leaves the field out."""

    def build(idempotency_id: str | None = "id-1", **fields: Any) -> dict[str, Any]:
        whole = {
            "idempotency_id": idempotency_id,
            "customer_id": "c1",
            "event_name": "call",
            "time_created": NOW.isoformat().replace("+00:00", "Z"),
            "properties": {"region": "US"},
            **fields,
        }
        return {name: value for name, value in whole.items() if value is not None}

    return build


@pytest.fixture
def start(fake_lotus_factory: Callable[..., FakeLotus]) -> Callable[..., FakeLotus]:
    """Start a server whose clock stands at the time of the events."""
    return lambda *arguments, **options: fake_lotus_factory(*arguments, **{"now": lambda: NOW, **options})


@pytest.fixture
def once_back() -> Callable[[Callable[[], RawAnswer]], RawAnswer]:
    """Call until the server no longer refuses the connection."""

    def call_until_answered(call: Callable[[], RawAnswer]) -> RawAnswer:
        deadline = time.monotonic() + 10
        while True:
            try:
                return call()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "the server did not come back"
                threading.Event().wait(0.01)

    return call_until_answered
