"""The queue directory: what is created, with which modes, and what is refused."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.errors import ConfigurationError, QueueDirectoryError
from lotus_durable.queue.directory import QueueDirectory, write_atomically
from lotus_durable.queue.requests import answer, ask

from .conftest import OpenQueue
from .events import read_pass, record
from .faults import full_disk, refusing, replaced


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o027])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_everything_that_is_created_is_the_owners_alone(tmp_path: Path, open_queue: OpenQueue) -> None:
    top = tmp_path / "new"
    directory = QueueDirectory(top / "parents" / "queue")
    queue = open_queue(at=directory, power=True)
    for number in range(4):
        queue.append(record(number))
    segment = directory.journal / directory.segments()[0]
    data = bytearray(segment.read_bytes())
    data[40] ^= 1
    segment.write_bytes(data)
    consumer = queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:1], dead=output.records[1:2]))
    consumer.settle(output.settlement())
    consumer.close()
    answer(directory, ask(directory), None)
    ask(directory)
    write_atomically(directory.heartbeat, b"{}", durable=False)

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [top, *top.rglob("*")]}
    assert len([path for path in modes if path.is_file()]) >= 7
    assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}


@pytest.mark.usefixtures("umask")
def test_the_database_is_the_owners_alone_while_it_is_open(tmp_path: Path, open_queue: OpenQueue) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    queue = open_queue(at=directory)
    queue.append(record(0))
    consumer = queue.consumer()
    output = read_pass(consumer)
    seen: dict[str, int] = {}

    def look_and_close(queue: Any) -> None:
        for path in directory.store.iterdir():
            seen[path.name] = stat.S_IMODE(path.stat().st_mode)
        close(queue)

    import persistqueue

    close = persistqueue.SQLiteQueue.close
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(persistqueue.SQLiteQueue, "close", look_and_close)
        consumer.settle(output.settlement(dead=output.records))
    consumer.close()
    assert {"events.db", "events.db-wal", "events.db-shm"} <= set(seen)
    assert set(seen.values()) == {0o600}


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720, 0o1777])
@pytest.mark.parametrize("folder", [".", "journal", "store", "quarantine", "requests"])
def test_a_directory_others_can_write_to_is_refused(directory: QueueDirectory, folder: str, mode: int) -> None:
    path = directory.root / folder
    path.chmod(mode)
    for refuse in (directory.prepare, directory.check):
        with pytest.raises(QueueDirectoryError, match=f"can be written by others.*{path.resolve()}"):
            refuse()


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_a_directory_others_can_only_read_is_accepted(directory: QueueDirectory, mode: int) -> None:
    directory.root.chmod(mode)
    directory.prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("folder", [".", "journal"])
def test_a_directory_of_somebody_else_is_refused(directory: QueueDirectory, folder: str) -> None:
    os.chown(directory.root / folder, 12345, -1)
    with pytest.raises(QueueDirectoryError, match="belongs to user 12345"):
        directory.prepare()


@pytest.mark.parametrize("place", ["queue", "queue/journal", "queue/requests"])
def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch()
    with pytest.raises(QueueDirectoryError, match=f"{path}.* is not a directory"):
        QueueDirectory(tmp_path / "queue").prepare()


def test_a_file_in_the_place_of_a_parent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(QueueDirectoryError, match="is not a directory"):
        QueueDirectory(tmp_path / "file" / "queue").prepare()


def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue").symlink_to(tmp_path / "nowhere")
    with pytest.raises(QueueDirectoryError, match="is not a directory"):
        QueueDirectory(tmp_path / "queue").prepare()


def test_the_refusal_is_an_error_of_the_configuration(directory: QueueDirectory) -> None:
    directory.root.chmod(0o777)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        directory.prepare()


def test_a_directory_that_cannot_be_created_is_the_disks_refusal(tmp_path: Path) -> None:
    with refusing("mkdir", errno.EROFS), pytest.raises(OSError, match="Read-only"):
        QueueDirectory(tmp_path / "queue").prepare()


def test_new_directories_survive_a_power_cut(tmp_path: Path) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    root = tmp_path / "parent" / "queue"
    with replaced("fsync", note):
        QueueDirectory(root).prepare()
    assert synced == [str(tmp_path), str(root.parent), str(root)]
    synced.clear()
    with replaced("fsync", note):
        QueueDirectory(root).prepare()
    assert synced == []


def test_nothing_is_listed_in_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "none")
    assert directory.segments() == directory.unfinished() == directory.failed_marks() == []
    assert directory.temporary_files() == []


# Replacing a file atomically


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    for call in ("write", "fsync", "replace"):
        with refusing(call, errno.EIO), pytest.raises(OSError, match="Input/output"):
            write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
    with full_disk(str(tmp_path)), pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_short_writes_are_continued(tmp_path: Path) -> None:
    real = os.write
    with replaced("write", lambda target, data: real(target, data[:3])) as writes:
        write_atomically(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert writes.count == 4


def test_a_replacement_is_synced_before_it_gets_the_name_and_the_name_after(tmp_path: Path) -> None:
    steps: list[str] = []
    replace, fsync = os.replace, os.fsync

    def note_replace(source: str, target: str) -> None:
        steps.append("rename")
        replace(source, target)

    def note_sync(descriptor: int) -> None:
        steps.append("sync " + ("names" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "data"))
        fsync(descriptor)

    with replaced("replace", note_replace), replaced("fsync", note_sync):
        write_atomically(tmp_path / "file", b"data")
    assert steps == ["sync data", "rename", "sync names"]
