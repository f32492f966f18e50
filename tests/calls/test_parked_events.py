"""After create_customer the events that waited for this customer are sent, and not at the next slow retry."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.requests import answer, asked, remind
from lotus_durable.testing import FakeLotus

from .conftest import Connect


def test_events_of_a_new_customer_are_not_left_until_the_next_retry(
    l22: FakeLotus, connect: Connect, tmp_path: Path
) -> None:
    client = connect(l22, parked_retry_interval=3600, flush_interval=0.01)
    client.track_event(customer_id="c1", event_name="call")
    client.track_event(customer_id="c2", event_name="call")
    assert client.drain(20).parked == 2
    client.create_customer(customer_id="c1", name="One")
    l22.wait_for(1, timeout=20)
    assert [event["customer_id"] for event in l22.events] == ["c1"]
    assert client.drain(20).complete
    assert client.stats().parked == 1
    assert os.listdir(tmp_path / "queue" / "requests") == []


def test_nobody_is_asked_where_there_is_no_queue(l22: FakeLotus, connect: Connect, tmp_path: Path) -> None:
    client = connect(l22)
    shutil.rmtree(tmp_path / "queue")
    assert client.create_customer(customer_id="c1", name="One")["customer_id"] == "c1"
    assert not (tmp_path / "queue").exists()


def test_a_queue_that_others_can_write_to_is_not_touched(l22: FakeLotus, connect: Connect, tmp_path: Path) -> None:
    client = connect(l22)
    (tmp_path / "queue").chmod(0o777)
    client.create_customer(customer_id="c1", name="One")
    assert asked(QueueDirectory(tmp_path / "queue")) == set()


def test_a_call_that_failed_asks_for_nothing(l22: FakeLotus, connect: Connect, tmp_path: Path) -> None:
    client = connect(l22)
    client.create_customer(customer_id="c1", name="One")
    with pytest.raises(Exception, match="already exists"):
        client.create_customer(customer_id="c1", name="One")
    assert len(asked(QueueDirectory(tmp_path / "queue"))) == 1


def test_without_a_leader_requests_do_not_pile_up_for_ever(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    for _ in range(150):
        remind(directory)
    names = asked(directory)
    assert len(names) == 100
    for name in names:
        answer(directory, name, None)
    assert os.listdir(directory.requests) == []
    answer(directory, next(iter(names)), "blocked")  # somebody else answered it
    assert os.listdir(directory.requests) == []
