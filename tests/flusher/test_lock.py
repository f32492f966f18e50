"""The flusher's lock: taken whole or not at all, by one, and never thought to be held where another may have it."""

from __future__ import annotations

import errno
import fcntl
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lotus_durable import fork
from lotus_durable.flusher import locks
from lotus_durable.flusher.lock import FlusherLock
from lotus_durable.queue import requests
from lotus_durable.queue.directory import QueueDirectory


@pytest.fixture
def one(directory: QueueDirectory) -> Iterator[FlusherLock]:
    lock = FlusherLock(directory)
    yield lock
    lock.release()


@pytest.fixture
def other(directory: QueueDirectory) -> Iterator[FlusherLock]:
    lock = FlusherLock(directory)
    yield lock
    lock.release()


def open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return sorted(found)


def test_one_holds_it_and_after_him_another(one: FlusherLock, other: FlusherLock) -> None:
    assert not one.is_held()
    assert one.acquire()
    assert one.is_held()
    assert not other.acquire()
    assert other.refusal is None, "that somebody has it is none"
    assert not other.is_held()
    one.release()
    assert not one.is_held()
    assert other.acquire()
    assert other.is_held()


def test_others_can_see_it_as_long_as_it_is_held(one: FlusherLock, directory: QueueDirectory) -> None:
    assert locks.is_held(directory.flusher_lock) is False
    one.acquire()
    assert locks.is_held(directory.flusher_lock) is True
    one.release()
    assert locks.is_held(directory.flusher_lock) is False


def test_the_heartbeat_shows_it_too_but_never_longer(
    directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = locks.let_go
    shown: list[tuple[bool | None, bool | None]] = []

    def noted(descriptor: int, start: int = 0) -> None:
        let_go(descriptor, start)
        shown.append((locks.is_held(directory.heartbeat), locks.is_held(directory.flusher_lock)))

    monkeypatch.setattr(locks, "let_go", noted)
    lock = FlusherLock(directory)
    assert lock.acquire()
    assert locks.is_held(directory.heartbeat) is True
    lock.release()
    assert shown[:2] == [(False, True), (False, False)]


@pytest.mark.parametrize("kind", ["a folder", "a link", "a pipe", "somebody's lock", "no room"])
def test_a_heartbeat_that_cannot_be_locked_hinders_nobody(
    one: FlusherLock, directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = Path(directory.heartbeat)
    if kind == "a folder":
        path.mkdir()
    elif kind == "a link":
        path.symlink_to(directory.root)
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "somebody's lock":
        copy = os.open(path, os.O_RDWR | os.O_CREAT)
        assert locks.try_hold(copy)
    else:
        opened = os.open

        def full(file: str, flags: int, mode: int = 0o777) -> int:
            if file == directory.heartbeat:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file)
            return opened(file, flags, mode)

        monkeypatch.setattr(os, "open", full)
    before = len(open_files())
    assert one.acquire()
    assert one.is_held()
    assert locks.is_held(directory.flusher_lock) is True
    one.release()
    assert locks.is_held(directory.flusher_lock) is False
    assert len(open_files()) == before
    if kind == "somebody's lock":
        os.close(copy)


def test_one_thread_takes_it_and_another_lets_it_go(one: FlusherLock, other: FlusherLock) -> None:
    taken: list[bool] = []
    taking = threading.Thread(target=lambda: taken.append(one.acquire()))
    taking.start()
    taking.join()
    assert taken == [True]
    assert one.is_held()
    one.release()
    assert other.acquire()


def test_a_file_system_that_refuses_to_unlock_leaves_nothing_open(
    one: FlusherLock, other: FlusherLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = open_files()
    assert one.acquire()
    monkeypatch.setattr(locks, "let_go", refuse)
    one.release()
    assert one.acquire(), "with what refuses"
    one.release()
    assert open_files() == before
    assert other.acquire()


@pytest.mark.parametrize("where", ["before it lets go", "as it lets go"])
def test_what_an_interruption_leaves_of_it_ends_with_whoever_had_it(
    directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = open_files()

    def strike(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    def interrupted() -> None:
        lock = FlusherLock(directory)
        assert lock.acquire()
        if where == "before it lets go":
            strike()
        monkeypatch.setattr(locks, "let_go", strike)
        lock.release()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert locks.is_held(directory.flusher_lock) is False
    assert open_files() == before


def test_a_child_that_no_hook_has_told_lets_go_of_nothing(one: FlusherLock, directory: QueueDirectory) -> None:
    assert one.acquire()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fork, "this_process", lambda: (7, 7))
        one.release()
    assert one.is_held()
    assert locks.is_held(directory.flusher_lock) is True


def on_the_folder(directory: QueueDirectory) -> int:
    folder = os.open(directory.root, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    return folder


def on_the_file(directory: QueueDirectory) -> int:
    file = os.open(directory.flusher_lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def seen_by_looks(directory: QueueDirectory) -> int:
    file = os.open(directory.flusher_lock, os.O_RDWR | os.O_CREAT, 0o600)
    assert locks.try_hold(file)
    return file


@pytest.mark.parametrize("part", [on_the_folder, on_the_file, seen_by_looks])
def test_who_finds_one_of_the_three_taken_takes_none_and_keeps_nothing_open(
    one: FlusherLock, other: FlusherLock, directory: QueueDirectory, part: Callable[[QueueDirectory], int]
) -> None:
    descriptor = part(directory)
    before = open_files()
    assert not one.acquire()
    assert one.refusal is None
    assert not one.is_held()
    assert open_files() == before
    os.close(descriptor)
    assert other.acquire(), "the first one has left none of the three"
    other.release()
    assert one.acquire()


def test_it_is_held_no_longer_where_the_path_leads_elsewhere(one: FlusherLock, directory: QueueDirectory) -> None:
    path = directory.flusher_lock
    for away in (path, directory.root):
        assert one.acquire()
        os.rename(away, f"{away}-away")
        assert not one.is_held(), "it is gone"
        if away == path:
            Path(path).touch()
            assert not one.is_held(), "it is another file"
            os.unlink(path)
        else:
            os.mkdir(directory.root)
            Path(path).touch()
            assert not one.is_held(), "it is another directory"
            os.unlink(path)
            os.rmdir(directory.root)
        os.rename(f"{away}-away", away)
        assert one.is_held(), "it is back"
        one.release()


def test_a_lock_file_that_is_deleted_in_this_very_moment_is_none(
    one: FlusherLock, directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = locks.try_hold

    def hold(descriptor: int, start: int = 0) -> bool:
        os.unlink(directory.flusher_lock)
        return real(descriptor, start)

    monkeypatch.setattr(locks, "try_hold", hold)
    before = open_files()
    assert not one.acquire()
    assert open_files() == before
    monkeypatch.undo()
    assert one.acquire()


def test_why_it_cannot_be_taken_is_logged_once_and_told(
    one: FlusherLock, directory: QueueDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "lotus_durable")
    os.symlink("elsewhere", directory.flusher_lock)
    for _ in range(3):
        assert not one.acquire()
    [record] = caplog.records
    assert record.getMessage() == one.refusal
    assert str(one.refusal).startswith("the flusher's lock cannot be taken: ")
    os.unlink(directory.flusher_lock)
    os.rename(directory.root, f"{directory.root}-away")
    assert not one.acquire()
    assert "No such file or directory" in str(one.refusal)
    assert len(caplog.records) == 2, "it is another reason"
    assert not os.path.exists(directory.root), "it makes no directory"
    os.rename(f"{directory.root}-away", directory.root)
    assert one.acquire()
    assert one.refusal is None
    one.release()
    os.rename(directory.root, f"{directory.root}-away")
    assert not one.acquire()
    assert len(caplog.records) == 3, "it is new again"


@pytest.mark.parametrize(("code", "expected"), [(errno.EBADF, True), (errno.ENOLCK, False), (errno.EWOULDBLOCK, False)])
def test_a_directory_that_cannot_be_locked_leaves_it_to_the_file_on_nfs_alone(
    one: FlusherLock, monkeypatch: pytest.MonkeyPatch, code: int, expected: bool
) -> None:
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") and operation != fcntl.LOCK_UN:
            raise OSError(code, os.strerror(code))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert one.acquire() is expected
    assert (one.refusal is None) is (code != errno.ENOLCK)


def test_requests_from_before_it_was_taken_are_known(one: FlusherLock, directory: QueueDirectory) -> None:
    requests.ask(directory, "drain")
    before = requests.newest(directory)
    assert before > 0
    assert one.requests_before == 0
    assert one.acquire()
    requests.ask(directory, "drain")
    assert one.requests_before == before


def test_a_forked_child_has_nothing_of_it_and_takes_nothing_from_its_parent(
    one: FlusherLock, other: FlusherLock, directory: QueueDirectory
) -> None:
    assert one.acquire()
    one.abandon()
    assert one.is_held(), "this is no child"
    pid = os.fork()
    if pid == 0:
        held = one.is_held() or any(directory.flusher_lock in name for name in open_files())
        one.release()
        os._exit(1 if held else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert one.is_held()
    assert locks.is_held(directory.flusher_lock) is True
    assert not other.acquire()


def test_a_child_that_knows_itself_keeps_no_descriptor(
    one: FlusherLock, directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a child, but for the other end of the fork: the locks stay, for they are the parent's."""
    assert one.acquire()
    own = list(one._own)
    assert len(own) == 3
    copies = [os.dup(each) for each in own]
    os.close(own[0])  # the application has closed all that it does not know
    monkeypatch.setattr(fork, "this_process", object)
    one.abandon()
    assert not one.is_held()
    for each in own:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(each)
    one.release()
    assert locks.is_held(directory.flusher_lock) is True
    for each in copies:
        os.close(each)
    one._lock.release(force=True)
