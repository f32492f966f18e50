"""Small files that are there as a whole or not at all, also after a power cut."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from lotus_durable.queue import files
from lotus_durable.queue.files import create_atomically, create_file, sync_data, write_atomically

from .faults import full_disk, refusing, replaced


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(str(path), b"old")
    for call in ("write", "fsync", "replace"):
        with refusing(call, errno.EIO), pytest.raises(OSError, match="Input/output"):
            write_atomically(str(path), b"new")
        assert path.read_bytes() == b"old"
    with full_disk(str(tmp_path)), pytest.raises(OSError, match="No space"):
        write_atomically(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_short_writes_are_continued(tmp_path: Path) -> None:
    real = os.write
    with replaced("write", lambda target, data: real(target, data[:3])) as writes:
        write_atomically(f"{tmp_path}/file", b"0123456789")
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
        write_atomically(f"{tmp_path}/file", b"data")
    assert steps == ["sync data", "rename", "sync names"]


# Creating


@pytest.mark.parametrize("code", [None, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES])
def test_a_file_is_created_unless_it_is_there(tmp_path: Path, code: int | None) -> None:
    path = tmp_path / "file"
    with refusing("link", code or 0, times=None if code else 0):
        assert create_atomically(str(path), b"first")
        assert not create_atomically(str(path), b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [None, errno.EPERM])
def test_of_threads_that_create_a_file_at_once_one_succeeds(tmp_path: Path, code: int | None) -> None:
    start = threading.Barrier(8)
    created: list[int] = []

    def create(number: int) -> None:
        start.wait(10)
        if create_atomically(f"{tmp_path}/file", str(number).encode(), durable=False):
            created.append(number)

    with refusing("link", code or 0, times=None if code else 0):
        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert (tmp_path / "file").read_bytes() == str(created[0]).encode()
    assert len(created) == 1


def test_an_error_of_the_disk_is_no_lack_of_hard_links(tmp_path: Path) -> None:
    with refusing("link", errno.EIO), pytest.raises(OSError, match="Input/output"):
        create_atomically(f"{tmp_path}/file", b"data")
    assert os.listdir(tmp_path) == []


def test_without_hard_links_a_process_that_is_stopped_holds_up_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PATIENCE", 0.01)
    stopped = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    with refusing("link", errno.EPERM):
        assert create_atomically(f"{tmp_path}/file", b"data")
    os.close(stopped)
    assert (tmp_path / "file").read_bytes() == b"data"


def test_without_hard_links_and_locks_a_file_is_created_all_the_same(tmp_path: Path) -> None:
    with refusing("link", errno.EPERM), refusing("flock", errno.ENOSYS):
        assert create_atomically(f"{tmp_path}/file", b"data")
        assert not create_atomically(f"{tmp_path}/file", b"other")
    assert (tmp_path / "file").read_bytes() == b"data"


def test_a_created_file_is_synced_before_it_gets_its_name_and_the_name_after(tmp_path: Path) -> None:
    steps: list[str] = []
    link, fsync = os.link, os.fsync

    def note_link(source: Path, target: Path) -> None:
        steps.append("link")
        link(source, target)

    def note_sync(descriptor: int) -> None:
        steps.append("sync " + ("names" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "data"))
        fsync(descriptor)

    with replaced("link", note_link), replaced("fsync", note_sync):
        create_atomically(f"{tmp_path}/file", b"data")
        create_atomically(f"{tmp_path}/other", b"data", durable=False)
    assert steps == ["sync data", "link", "sync names", "link"]


def test_an_empty_file_is_made_where_there_is_none_and_left_alone_where_there_is(tmp_path: Path) -> None:
    create_file(f"{tmp_path}/file")
    assert (tmp_path / "file").read_bytes() == b""
    (tmp_path / "file").write_bytes(b"a database")
    with refusing("open", errno.EIO):
        create_file(f"{tmp_path}/file")
    assert (tmp_path / "file").read_bytes() == b"a database"


# Syncing where a system call is missing


def test_where_there_is_no_fdatasync_a_file_is_synced_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "file").open("wb") as file:
        monkeypatch.setattr(files, "_HAS_FDATASYNC", False)
        with replaced("fsync", os.fsync) as syncs:
            sync_data(file.fileno())
        assert syncs.count == 1
        monkeypatch.setattr(files, "_FULL_SYNC", fcntl.F_GETFD)  # harmless here; on macOS it empties the drive's cache
        with replaced("fsync", os.fsync) as syncs:
            sync_data(file.fileno())
        assert syncs.count == 0
