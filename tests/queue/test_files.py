"""Small files that are there as a whole or not at all, also after a power cut."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from lotus_durable.queue import files
from lotus_durable.queue.files import create_atomically, sync_data

from .faults import full_disk, refusing, replaced


def test_short_writes_are_continued(tmp_path: Path) -> None:
    real = os.pwrite
    with replaced("pwrite", lambda target, data, at: real(target, data[:3], at)) as writes:
        create_atomically(f"{tmp_path}/file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert writes.count == 4


@pytest.mark.parametrize("code", [None, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES])
def test_a_file_is_created_unless_it_is_there(tmp_path: Path, code: int | None) -> None:
    path = tmp_path / "file"
    with refusing("link", code or 0, times=None if code else 0):
        assert create_atomically(str(path), b"first")
        assert not create_atomically(str(path), b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def test_of_threads_that_create_a_file_at_once_one_succeeds(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    created: list[int] = []

    def create(number: int) -> None:
        start.wait(10)
        if create_atomically(f"{tmp_path}/file", str(number).encode()):
            created.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (tmp_path / "file").read_bytes() == str(created[0]).encode()
    assert len(created) == 1


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_file_that_cannot_be_written_is_not_there(tmp_path: Path, call: str) -> None:
    with refusing(call, errno.EIO), pytest.raises(OSError, match="Input/output"):
        create_atomically(f"{tmp_path}/file", b"data")
    with full_disk(str(tmp_path)), pytest.raises(OSError, match="No space"):
        create_atomically(f"{tmp_path}/file", b"data")
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_disk_is_no_lack_of_hard_links(tmp_path: Path) -> None:
    with refusing("link", errno.EIO), pytest.raises(OSError, match="Input/output"):
        create_atomically(f"{tmp_path}/file", b"data")
    assert os.listdir(tmp_path) == []


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
    assert steps == ["sync data", "link", "sync names"]


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
