"""A disk that is full, read-only, broken or out of descriptors: nothing is lost, nobody waits, it is said once."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import count
from pathlib import Path
from types import FrameType

import pytest

from lotus_durable.errors import DiskRefused, QueueDirectoryError, QueueFull
from lotus_durable.flusher.destination import AsConfigured
from lotus_durable.flusher.life import Flusher
from lotus_durable.queue import memory
from lotus_durable.queue.memory import CAPACITY, write_back
from tests.queue.faults import Refusal, full_disk, refusing, replaced, small_disk, writing_short
from tests.rig import Rig, track
from tests.scripts import lines

Trouble = Callable[[], AbstractContextManager[object]]

TROUBLES: dict[str, Trouble] = {
    "no space": full_disk,
    "quota": lambda: refusing("pwrite", errno.EDQUOT, where=".seg"),
    "input/output error": lambda: refusing("pwrite", errno.EIO, where=".seg"),
    "read-only": lambda: _several(
        refusing("pwrite", errno.EROFS, where=".seg"), refusing("ftruncate", errno.EROFS, where=".seg")
    ),
    "short writes": lambda: writing_short(20),
    "short writes that cannot be undone": lambda: _several(
        writing_short(20), refusing("ftruncate", errno.EIO, where=".seg")
    ),
}


def _several(*contexts: AbstractContextManager[object]) -> ExitStack:
    stack = ExitStack()
    for context in contexts:
        stack.enter_context(context)
    return stack


@pytest.fixture(params=list(TROUBLES.values()), ids=list(TROUBLES))
def trouble(request: pytest.FixtureRequest) -> Trouble:
    chosen: Trouble = request.param
    return chosen


def test_events_wait_in_memory_and_are_written_in_order_when_the_disk_takes_them(rig: Rig, trouble: Trouble) -> None:
    client = rig.client(trusted_look=3600.0)
    ids = track(client, 3)
    with trouble():
        ids += track(client, 297)
        assert client.stats().in_memory == 297
    assert [type(error) for error, _ in rig.errors] == [DiskRefused]
    ids += track(client, 10)
    assert client.stats().in_memory == 0
    assert client.drain(20).complete
    assert list(rig.server.times_received) == ids
    rig.check(ids)


def test_an_event_writes_back_a_few_that_wait_and_not_all(rig: Rig) -> None:
    client = rig.client(trusted_look=3600.0)
    ids = track(client, 1)
    with full_disk():
        ids += track(client, 1000)
    with replaced("pwrite", os.pwrite, where=".seg") as writes:
        ids += track(client, 1)
    assert 1 < writes.count < 100
    assert client.drain(20).complete, "a drain writes back all"
    rig.check(ids)


def test_the_first_event_ever_can_be_refused_by_a_full_disk(rig: Rig) -> None:
    client = rig.client()
    with refusing("mkdir", errno.ENOSPC):
        ids = track(client, 1)
    assert "ENOSPC" in rig.messages()[0]
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_directory_that_never_worked_is_a_mistake_in_the_configuration(rig: Rig, code: int) -> None:
    client = rig.client()
    with refusing("mkdir", code), pytest.raises(QueueDirectoryError, match=str(rig.queue_dir)):
        track(client, 1)
    assert client.stats().in_memory == 0
    ids = track(client, 1)
    with refusing("pwrite", code, where=".seg"):
        ids += track(client, 1)  # it has worked: this is trouble of the disk's
        assert client.stats().in_memory == 1
    assert client.drain(20).complete
    rig.check(ids)


def test_trouble_is_told_once_a_minute_with_the_number_that_waits(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("lotus_durable.tracker.quickest", lambda: lambda: now)
    client = rig.client()
    ids = track(client, 1)
    with full_disk(where=".seg"):
        ids += track(client, 5)
        now += 59.0
        ids += track(client, 1)
        assert len(rig.errors) == 1
        now += 1.0
        ids += track(client, 1)
        report = client.drain(20)
    assert (report.remaining, report.reason) == (7, "the disk takes no writes: 7 events in this process's memory")
    assert len(rig.errors) == 2
    assert "ENOSPC" in rig.messages()[1]
    assert "7 accepted events" in rig.messages()[1]
    assert str(rig.queue_dir) in rig.messages()[1]
    assert client.drain(20).complete
    rig.check(ids)


def test_a_full_memory_buffer_refuses_events_aloud(rig: Rig) -> None:
    assert CAPACITY == 10_000
    client = rig.client(trusted_look=3600.0)
    ids = track(client, 1)
    with full_disk():
        ids += track(client, CAPACITY)
        with pytest.raises(QueueFull, match="memory buffer is full"):
            track(client, 1)
    assert client.drain(60).complete
    rig.check(ids)


def test_what_waits_is_written_when_the_client_is_let_go_and_stays_in_memory_while_it_cannot_be(rig: Rig) -> None:
    client = rig.client(trusted_look=3600.0)
    ids = track(client, 1)
    with full_disk():
        ids += track(client, 2)
    client.release()
    with full_disk():
        ids += track(client, 3)
        client.release()
        assert rig.client().stats().in_memory == 3
    assert rig.client().drain(20).complete
    assert rig.check(ids).delivered == 6


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_what_cannot_be_written_when_the_process_ends_is_told_with_its_number(
    rig: Rig, tmp_path: Path, backend: str
) -> None:
    code = """
    client = make(backend=sys.argv[3], on_error=lambda error, events: say(type(error).__name__, error))
    track(client, 1)
    for size in (1 << 16, 1 << 12, 1):
        with open(queue_dir.parent / f"others-{size}", "wb", buffering=0) as file:
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
    track(client, 3, properties={"text": "x" * 20_000})
    client.release()
    say("the process ends")
    """
    with small_disk(tmp_path / "small", "16M") as disk:
        said = lines(code, disk / "queue", rig.server.host, backend)
    assert said[-2] == "the process ends"
    assert said[-1] == "DiskRefused 3 accepted events lost: the disk takes no writes, and this process ends"


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_what_waited_in_memory_never_meets_the_limit_of_the_queue_again(rig: Rig, backend: str) -> None:
    client = rig.client(backend=backend, max_queue_bytes=64 << 20, trusted_look=3600.0)
    ids = track(client, 1)
    with full_disk(), refusing("statvfs", errno.EIO):
        ids += track(client, 500, properties={"text": "x" * 20_000})
    (rig.queue_dir / "others").write_bytes(b"")
    os.truncate(rig.queue_dir / "others", 64 << 20)
    client._tracker.look_now()
    assert client.stats().in_memory == 0
    with pytest.raises(QueueFull, match="max_queue_bytes"):
        rig.client(backend=backend, max_queue_bytes=64 << 20).track_event(customer_id="c", event_name="x")
    assert client.drain(60).complete
    assert rig.check(ids).delivered == 501


def test_a_directory_that_became_unsafe_gets_no_further_segment(rig: Rig) -> None:
    client = rig.client(segment_bytes=1)
    ids = track(client, 1)
    rig.queue_dir.chmod(0o777)
    ids += track(client, 1)
    assert client.stats().in_memory == 1
    assert "written by others" in rig.messages()[0]
    rig.queue_dir.chmod(0o700)
    assert client.drain(20).complete
    rig.check(ids)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_small_disk_fills_up_and_is_emptied_by_delivering(rig: Rig, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "small", "16M"))
        rig.queue_dir = disk / "queue"
        rig.directory = type(rig.directory)(rig.queue_dir)
        client = rig.client()
        ids: list[str] = []
        with contextlib.suppress(QueueFull):
            while len(ids) < 40_000:
                ids += track(client, 1, properties={"text": "x" * 400})
        assert client.stats().in_memory > 0
        while client.stats().in_memory or client.stats().pending:
            assert client.drain(60).delivered > 0
        assert set(ids) == set(rig.server.times_received)
        rig.stop()


def test_the_buffer_keeps_its_order_when_a_record_cannot_be_written() -> None:
    waiting = deque([b"a", b"b", b"c"])
    written: list[bytes] = []

    def write(record: bytes) -> None:
        if record == b"b" and not refused:
            refused.append(record)
            raise OSError(errno.ENOSPC, "no space")
        written.append(record)

    refused: list[bytes] = []
    with pytest.raises(OSError, match="no space"):
        write_back(waiting, write, 9)
    assert len(waiting) == 2
    write_back(waiting, write, 9)
    assert written == [b"a", b"b", b"c"]
    assert not waiting


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("backend", ["journal", "sqlite"])
@pytest.mark.parametrize("call", range(4))
def test_one_failing_sync_in_writer_or_flusher_makes_no_event_two_and_none_lost(
    rig: Rig, backend: str, durability: str, call: int
) -> None:
    syncs = 0
    real = os.fdatasync

    def fail_once(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        if syncs == call + 1:
            raise OSError(errno.EIO, "the disk fails")
        real(descriptor)

    client = rig.client(backend=backend, durability=durability)
    with replaced("fdatasync", fail_once):
        ids = track(client, 3)
        assert client.drain(20).complete
        ids += track(client, 3)
        assert client.drain(20).complete
    assert set(rig.server.times_received.values()) == {1}
    assert rig.check(ids).delivered == 6


def test_a_flusher_whose_books_were_removed_stays_until_the_disk_takes_them_back(rigs: Callable[..., Rig]) -> None:
    """It alone can still read them: when it left, what is parked in them would be gone."""
    rig = rigs("L22", customers=[])
    ids = track(rig.client(), 3, customer_id="nobody")
    config = rig.config(idle_before_end=0.0)
    refusals: list[Refusal] = []
    with ExitStack() as full:

        def hand() -> None:
            """At each of its steps."""
            if not refusals and rig.stats().parked == len(ids):
                for part in ("", "-wal", "-shm"):
                    Path(f"{rig.directory.books}{part}").unlink()
                refusals.append(full.enter_context(refusing("open", errno.ENOSPC, where="books.db.new")))
            elif refusals and refusals[0].count > 3:
                full.close()

        flusher = Flusher(lambda: config, kind="auto", ending=hand, destination=AsConfigured())
        assert flusher.lock.acquire()
        assert flusher.run() == "nothing is left to do"
    assert rig.ids("parked") == set(ids)
    assert rig.check(ids).parked == len(ids)


@pytest.mark.parametrize("comes_back", ["with the next event", "when somebody looks", "when the client is let go"])
@pytest.mark.parametrize("times", [1, None])
def test_what_waited_in_memory_outlasts_a_sync_that_fails_after_it_was_written(
    rig: Rig, comes_back: str, times: int | None
) -> None:
    """The segment is cut back to what was synced."""
    client = rig.client(durability="power", trusted_look=3600.0)
    ids = track(client, 1)
    with full_disk(where=".seg"):
        ids += track(client, 5)
    with refusing("fdatasync", errno.EIO, where=".seg", times=times) as syncs:
        if comes_back == "with the next event":
            ids += track(client, 1)
        elif comes_back == "when somebody looks":
            client._tracker.look_now()
            ids += track(client, 1)
        else:
            client.release()
    assert syncs.count
    assert rig.client().drain(20).complete
    assert set(rig.server.times_received) == set(ids)
    rig.check(ids)


def test_no_signal_handler_that_raises_takes_an_accepted_event_out_of_memory() -> None:
    for step in count():
        waiting = deque([b"a", b"b"])
        written: list[bytes] = []
        with raising_after_step(step) as raised, suppress(TimeoutError):
            write_back(waiting, written.append, 9)
        write_back(waiting, written.append, 9)
        assert {*written} == {b"a", b"b"}
        if not raised:
            break
    assert step > 3


@contextlib.contextmanager
def raising_after_step(step: int) -> Iterator[list[int]]:
    """Have a signal handler raise when the buffer's function has called so many others; say where it did."""
    raised: list[int] = []
    left = step

    def interrupt(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        if event == "c_return" and frame.f_code.co_filename == memory.__file__:
            left -= 1
            if left == -1:
                raised.append(frame.f_lineno)
                raise TimeoutError

    sys.setprofile(interrupt)
    try:
        yield raised
    finally:
        sys.setprofile(None)
