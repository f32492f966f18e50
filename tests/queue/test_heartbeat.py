"""The heartbeat: what is written is read, also by the version before and after."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import msgpack
import pytest

from lotus_durable.queue import files, heartbeat
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import (
    Beat,
    HeartbeatFile,
    Notice,
    Program,
    Progress,
    Refusal,
    read_beat,
    read_progress,
    shortened,
)
from lotus_durable.queue.stats import QueueStats

from .faults import refusing, small_disk

PROGRAM = Program("1.2", "/somewhere", b"settings", b"key", b"surroundings", 5.0)
BEAT = Beat(
    1, 2, 3, 4, "host", "boot", "auto", PROGRAM, 7, 8.0, "blocked", "why", notices=[Notice(1, "QueueFull", "text", [])]
)


def write(directory: QueueDirectory, plain: object) -> None:
    Path(directory.heartbeat).write_bytes(heartbeat._framed(plain))


def test_a_beat_is_read_as_it_was_written(directory: QueueDirectory) -> None:
    file = HeartbeatFile(directory)
    file.write(BEAT, None)
    file.close()
    assert read_beat(directory) == BEAT


def test_another_directory_that_lies_where_its_own_did_keeps_the_heartbeat_that_it_has(
    directory: QueueDirectory, tmp_path: Path
) -> None:
    other = QueueDirectory(tmp_path / "other")
    other.prepare()
    HeartbeatFile(other).write(BEAT._replace(pid=2), Progress(QueueStats(accepted=7, delivered=7), {}))
    file = HeartbeatFile(directory)
    file.write(BEAT, Progress(QueueStats(), {}))
    Path(directory.root).rename(tmp_path / "moved")
    Path(other.root).rename(directory.root)
    with pytest.raises(FileNotFoundError, match="moved or replaced"):
        file.write(BEAT, Progress(QueueStats(), {}))
    beat = read_beat(directory)
    assert beat is not None
    assert beat.pid == 2
    assert read_progress(directory).counts.delivered == 7


def test_how_far_it_is_stands_in_a_heartbeat_that_was_removed_or_replaced_too(
    directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who delivers nothing (the server is away, for hours say) has nothing new to tell; others still count by it."""
    monkeypatch.setattr(files, "_REMOVAL_TAKES", 0.0)
    file = HeartbeatFile(directory)
    progress = Progress(QueueStats(accepted=9, delivered=7, parked=2), {})
    file.write(BEAT, progress)
    path = Path(directory.heartbeat)
    older = path.read_bytes()[:100]
    path.unlink()
    file.write(BEAT, progress)
    assert read_progress(directory).counts == progress.counts
    path.with_name("older").write_bytes(older)
    path.with_name("older").rename(path)
    with refusing("pwrite", errno.ENOSPC, where="heartbeat"), pytest.raises(OSError, match="space"):
        file.write(BEAT, progress)
    file.write(BEAT, progress)
    file.close()
    assert read_progress(directory).counts == progress.counts


def test_a_beat_of_a_later_version_says_more(directory: QueueDirectory) -> None:
    program = [*PROGRAM, "more"]
    notices = [[*BEAT.notices[0], "more"]]
    write(directory, [*BEAT._replace(program=program, notices=notices), "more"])  # type: ignore[arg-type]
    assert read_beat(directory) == BEAT


def test_a_beat_of_an_earlier_version_says_less(directory: QueueDirectory) -> None:
    write(directory, list(BEAT[: Beat._fields.index("reason")]))
    found = read_beat(directory)
    assert found == BEAT._replace(reason=None, notices=())


@pytest.mark.parametrize("plain", [[], list(BEAT[:5]), {"pid": 1}, None, 3, [*BEAT[:7], 3, *BEAT[8:]]])
def test_what_is_no_beat_is_none(directory: QueueDirectory, plain: object) -> None:
    write(directory, plain)
    assert read_beat(directory) is None


def test_a_half_written_beat_is_none(directory: QueueDirectory) -> None:
    write(directory, msgpack.unpackb(msgpack.packb(list(BEAT))))
    path = Path(directory.heartbeat)
    path.write_bytes(path.read_bytes()[:-3])
    assert read_beat(directory) is None


def beat(notices: list[Notice], reason: str | None = None) -> Beat:
    program = Program("0.1.0", "/srv/" + "x" * 400, b"settings", b"keykeyke", b"surround", 1.0)
    return Beat(
        1, 2, 3, 4, "host", "boot", "auto", program, 5, 6.0, "idle", reason=reason, answer=reason, notices=notices
    )


@pytest.mark.parametrize("letter", ["x", "\N{PILE OF POO}"])
@pytest.mark.parametrize("count", [1, 6, 60])
def test_news_of_the_longest_ids_leave_the_beat_and_the_progress_readable(
    directory: QueueDirectory, letter: str, count: int
) -> None:
    event = {"idempotency_id": letter * 255, "customer_id": letter * 50, "event_name": letter * 200}
    notices = [Notice(number, "EventRefused", letter * 400, [event] * 3) for number in range(count)]
    file = HeartbeatFile(directory)
    progress = Progress(QueueStats(3, 1, 0, 2), {"1-a.seg": (56, 1)}, [Refusal("id", "why", True)])
    file.write(beat([]), progress)
    file.write(beat(notices, shortened(letter * 1000)), None)
    file.close()
    read = read_beat(directory)
    assert read is not None
    assert list(read.notices)[-1] == notices[-1]
    assert read_progress(directory) == progress


def test_on_a_full_disk_progress_that_has_no_room_leaves_the_former_one_readable(tmp_path: Path) -> None:
    def progress(segments: int) -> Progress:
        cursors = {f"{number:020d}-1-c1aabbcc.seg": (99, 1) for number in range(segments)}
        return Progress(QueueStats(segments, segments), cursors, [])

    with small_disk(tmp_path / "disk", "8m") as disk:
        directory = QueueDirectory(disk / "queue")
        directory.prepare()
        heartbeat = HeartbeatFile(directory)
        heartbeat.write(None, progress(1))
        with contextlib.suppress(OSError), (disk / "others").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        heartbeat.write(None, progress(10))
        with pytest.raises(OSError, match="No space"):
            heartbeat.write(None, progress(3_000))
        assert read_progress(directory) == progress(10)
        (disk / "others").unlink()
        heartbeat.write(None, progress(3_000))
        assert read_progress(directory) == progress(3_000)
        heartbeat.close()
