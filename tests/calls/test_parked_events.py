"""After create_customer the events that waited for this customer are sent, and not at the next slow retry."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.errors import LotusError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.requests import ask, newest
from lotus_durable.testing import FakeLotus
from tests.rig import Rig, rigs, track  # noqa: F401  # a fixture

from .conftest import Connect


def test_events_of_a_new_customer_are_not_left_until_the_next_retry(rigs: Callable[..., Rig]) -> None:  # noqa: F811
    rig = rigs("L22", customers=[])
    client = rig.client(flusher="auto", parked_retry_interval=3600.0)
    ids = track(client, 1, customer_id="c1") + track(client, 1, customer_id="c2")
    assert client.drain(20).parked == 2
    client.create_customer(customer_id="c1", name="One")
    rig.server.wait_for(1)
    assert list(rig.server.times_received) == ids[:1]
    assert client.drain(20).complete
    assert rig.check(ids).parked == 1


def test_nobody_is_asked_where_there_is_no_queue(l22: FakeLotus, connect: Connect, tmp_path: Path) -> None:
    client = connect(l22)
    shutil.rmtree(tmp_path / "queue", ignore_errors=True)
    assert client.create_customer(customer_id="c1", name="One")["customer_id"] == "c1"
    assert not (tmp_path / "queue").exists()


def test_a_queue_that_others_can_write_to_is_not_touched(l22: FakeLotus, connect: Connect, tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    client = connect(l22)
    directory.prepare()
    (tmp_path / "queue").chmod(0o777)
    client.create_customer(customer_id="c1", name="One")
    assert newest(directory) == 0


def test_a_call_that_failed_asks_for_nothing(l22: FakeLotus, connect: Connect, tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    client = connect(l22)
    directory.prepare()
    client.create_customer(customer_id="c1", name="One")
    number = newest(directory)
    assert number > 0
    with pytest.raises(LotusError, match="already exists"):
        client.create_customer(customer_id="c1", name="One")
    assert newest(directory) == number


def test_a_directory_that_is_no_queue_is_not_made_one(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    with pytest.raises(OSError, match="No such file"):
        ask(directory, "drain")
    assert not Path(directory.root).exists()
