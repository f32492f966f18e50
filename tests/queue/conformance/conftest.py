from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import EventQueue
from tests.queue.events import Reports

from .backends import BACKENDS, make_queue

OpenAny = Callable[..., EventQueue]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_any(backend: str, directory: QueueDirectory, reports: Reports) -> Iterator[OpenAny]:
    """Opens queues of the backend on one directory, each like a process of its own, and closes them."""
    opened: list[EventQueue] = []

    def open_one(**options: int) -> EventQueue:
        queue = make_queue(backend, directory, reports, **options)  # type: ignore[arg-type]
        opened.append(queue)
        return queue

    yield open_one
    for queue in opened:
        queue.close()


@pytest.fixture
def any_queue(open_any: OpenAny) -> EventQueue:
    return open_any()
