"""Threads and signal handlers that share one queue, in both backends."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytest

from lotus_durable.queue.protocol import EventQueue
from tests.queue.events import assert_conserved, deliver_all, read_pass, record

from .conftest import OpenAny

THREADS, EACH = 8, 150


@pytest.mark.usefixtures("eager_switching")
def test_threads_append_while_another_settles_and_none_loses_an_event(open_any: OpenAny) -> None:
    queue = open_any()
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for number in range(index * EACH, (index + 1) * EACH):
                queue.append(record(number))
                if number % 50 == 0:
                    assert_conserved(queue.census())
        except BaseException as error:  # noqa: BLE001  # shown in the test's thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    consumer = queue.consumer()
    found: list[int] = []
    is_last = False
    while not is_last:
        is_last = not any(thread.is_alive() for thread in threads)  # what comes later is in no pass
        output = read_pass(consumer)
        found += output.numbers
        consumer.settle(output.settlement())
        assert not failures
    for thread in threads:
        thread.join(10)
    consumer.close()
    assert sorted(found) == list(range(THREADS * EACH))
    assert queue.census().delivered == THREADS * EACH


def test_a_signal_handler_that_tracks_in_the_middle_of_an_append_loses_nothing_and_waits_for_nobody(
    any_queue: EventQueue,
) -> None:
    handled: list[int] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        handled.append(10_000 + len(handled))
        any_queue.append(record(handled[-1]))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        number = 0
        while len(handled) < 100:
            # Once in each append, or the handlers interrupt one another without end.
            signal.setitimer(signal.ITIMER_REAL, 0.000_01 * (1 + number % 10))
            any_queue.append(record(number))
            number += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert any_queue.buffered() == 0
    assert sorted(deliver_all(any_queue).numbers) == [*range(number), *handled]
    assert_conserved(any_queue.census())


def test_a_signal_handler_in_the_middle_of_a_put_writes_to_the_spill(open_any: OpenAny, backend: str) -> None:
    if backend != "sqlite":
        pytest.skip("the journal opens another segment: tests/queue/test_signals.py")
    queue = open_any()
    queue.append(record(0))
    with queue._database.use():  # type: ignore[attr-defined]
        queue.append(record(1))
        assert len(queue.directory.segments()) == 1
    assert queue.census().pending == 2
    assert sorted(deliver_all(queue).numbers) == [0, 1]
    queue.close()
    consumer = queue.consumer()
    assert read_pass(consumer).numbers == []
    assert queue.directory.segments() == []
    consumer.close()
