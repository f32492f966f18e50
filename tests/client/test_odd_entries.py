"""One odd entry in the queue directory: it is named, and hides and holds up nothing."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from lotus_durable.errors import QueueDirectoryError
from lotus_durable.queue.format import HEADER_SIZE
from tests.queue.faults import refusing
from tests.rig import Rig, conserved, track, wait_until
from tests.scripts import environment, lines


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only root may make a device")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


TRACK = """
client = make(backend=sys.argv[3], flusher="auto", on_error=lambda error, _: say("told", error))
track(client, 3)
report = client.drain(20)
say(report.complete, client.stats().pending, client.stats().delivered)
"""


def command(rig: Rig, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lotus_durable", *words, "--queue-dir", str(rig.queue_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )


@pytest.mark.parametrize(
    ("make_odd", "backend"),
    [(make_pipe, "journal"), (make_pipe, "sqlite"), (make_device, "journal"), (make_folder, "journal"),
     (make_loop, "sqlite")],
)  # fmt: skip
def test_what_is_no_file_in_the_journal_is_named_once_and_everything_else_goes_on(
    rig: Rig, make_odd: Callable[[Path], None], backend: str
) -> None:
    rig.directory.prepare()
    odd = Path(rig.directory.journal) / "00000000000000000001-1-c1000000.seg"
    make_odd(odd)
    said = lines(TRACK, rig.queue_dir, rig.server.host, backend)
    assert said[-1] == "True 0 3"
    told = [line for line in said if line.startswith("told")]
    assert len(told) == 1
    assert f"journal/{odd.name} is left alone" in told[0]
    assert command(rig, "status").returncode == 0
    assert command(rig, "health").returncode == 0
    assert command(rig, "drain").returncode in (0, 2)  # no key here: nobody could flush
    rig.stop()
    assert os.path.lexists(odd)


@pytest.mark.parametrize("name", ["identity", "heartbeat", "requests", "starting", "flusher.lock", "flusher.log"])
def test_what_is_no_file_in_the_place_of_one_of_ours_is_refused_at_once_and_named(rig: Rig, name: str) -> None:
    rig.directory.prepare()
    make_pipe(rig.queue_dir / name)
    [said] = lines(
        """
        try:
            client = make(flusher="auto")
            client.drain(20)
        except Exception as error:
            say(type(error).__name__, error)
        """,
        rig.queue_dir,
        rig.server.host,
    )
    assert said == f"QueueDirectoryError queue_dir: {rig.queue_dir / name} is no regular file: remove it"
    assert command(rig, "status").returncode in (0, 2, 3)
    assert command(rig, "health").returncode in (0, 1, 2, 3)


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_events_are_not_held_up_by_a_pipe_in_the_place_of_the_identity(rig: Rig, backend: str) -> None:
    """As root no directory is prepared when a client is made."""
    rig.directory.prepare()
    os.mkfifo(rig.directory.identity)
    client = rig.client(backend=backend)
    with pytest.raises(Exception, match="identity"):
        track(client, 1)


@pytest.mark.parametrize("name", ["books.db", "books.db-wal"])
@pytest.mark.parametrize("make_odd", [make_pipe, make_folder, make_device])
def test_what_is_no_file_in_the_place_of_the_books_is_set_aside_and_told(
    rig: Rig, make_odd: Callable[[Path], None], name: str
) -> None:
    client = rig.client(timeout=(5.0, 0.1))
    rig.directory.prepare()
    make_odd(rig.queue_dir / name)
    ids = track(client, 3)
    assert client.drain(20).complete
    assert any("is no regular file; new ones were begun" in message for message in rig.messages())
    assert rig.check(ids).delivered == 3


@pytest.mark.parametrize("make_odd", [make_pipe, make_folder])
def test_what_is_no_file_in_the_place_of_the_other_database_is_named_and_a_drain_is_not_complete_about_it(
    rig: Rig, make_odd: Callable[[Path], None]
) -> None:
    rig.directory.prepare()
    make_odd(rig.queue_dir / "queue.db")
    client = rig.client(backend="sqlite")
    ids = track(client, 3)
    report = client.drain(20)
    assert not report.complete
    assert f"{rig.queue_dir}/queue.db is left alone" in str(report.reason)
    assert rig.check(ids).delivered == 3


def test_a_segment_that_cannot_be_read_is_pending_and_a_drain_is_not_complete_about_it(rig: Rig) -> None:
    client = rig.client()
    ids = track(client, 5)
    [name] = rig.directory.segments()
    path = Path(rig.directory.journal) / name
    client.release()
    mine = path.read_bytes()
    path.rename(path.with_suffix(".kept"))
    path.write_bytes(mine)
    ids += track(client, 2)
    with refusing("pread", 5, where=name):
        report = client.drain(20)
        assert not report.complete
        assert f"journal/{name}" in str(report.reason)
        assert report.remaining >= 1
        assert rig.server.event_count == 2
    assert client.drain(20).complete
    path.with_suffix(".kept").unlink()
    assert rig.check(ids).delivered == 7


# Later formats


def made_later(path: Path, *, frames_too: bool) -> None:
    """Make it a segment that a later version wrote: with frames that look as ours do, or not."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, 8, 2)
    struct.pack_into("<I", data, HEADER_SIZE - 4, crc32(bytes(data[: HEADER_SIZE - 4])))
    if frames_too:
        data[HEADER_SIZE:] = bytes(byte ^ 0x55 for byte in data[HEADER_SIZE:])
    path.write_bytes(data)


@pytest.mark.parametrize("frames_too", [False, True])
def test_events_of_a_later_format_are_pending_said_and_a_drain_is_not_complete_about_them(
    rig: Rig, frames_too: bool
) -> None:
    client = rig.client()
    later = track(client, 5)
    client.release()
    [name] = rig.directory.segments()
    path = Path(rig.directory.journal) / name
    before = path.read_bytes()
    made_later(path, frames_too=frames_too)
    ids = track(client, 2)
    least = 1 if frames_too else 5
    assert rig.stats().pending == least + 2
    report = client.drain(20)
    assert not report.complete
    assert "version 2; this program reads version 1" in str(report.reason)
    assert report.remaining == least
    stats = client.stats()
    assert (stats.delivered, stats.pending) == (2, least)
    assert conserved(stats)
    rig.stop()
    assert sum("version 2" in message for message in rig.messages()) == 1
    path.write_bytes(before)  # the newer program is back
    assert client.drain(20).complete
    assert rig.check(later + ids).delivered == 7


def test_a_flusher_ends_though_events_of_a_later_format_are_there(rig: Rig) -> None:
    client = rig.client()
    track(client, 5)
    client.release()
    [name] = rig.directory.segments()
    made_later(Path(rig.directory.journal) / name, frames_too=False)
    ids = track(rig.client(flusher="auto", idle_before_end=0.2), 1)
    rig.server.wait_for(1)
    wait_until(lambda: not rig.is_flushed(), "the flusher to end")
    assert set(rig.server.times_received) == set(ids)
    assert rig.stats().pending == 5


def test_the_directory_is_refused_where_a_file_of_ours_is_none(rig: Rig) -> None:
    rig.directory.prepare()
    (rig.queue_dir / "heartbeat").mkdir()
    with pytest.raises(QueueDirectoryError, match="heartbeat is no regular file: remove it"):
        rig.directory.prepare()
