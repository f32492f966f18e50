"""The queue directory: what is created, with which modes, and what is refused."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lotus_durable.errors import ConfigurationError, QueueDirectoryError
from lotus_durable.queue.directory import (
    QueueDirectory,
    marker_in_name,
    original_name,
    released_name,
    segment_name,
)
from lotus_durable.queue.identity import ensure_identity

from .faults import refusing, replaced
from .segments import Reports, append, open_appender, open_sqlite, record


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o027])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_everything_that_is_created_is_the_owners_alone(tmp_path: Path, reports: Reports) -> None:
    top = tmp_path / "new"
    directory = QueueDirectory(top / "parents" / "queue")
    directory.prepare()
    appender = open_appender(directory, reports, identify=lambda: ensure_identity(directory))
    append(appender, 0)
    rows = open_sqlite(directory, reports)
    rows.append(record(1), 0.0)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [top, *top.rglob("*")]}
    assert len([path for path in modes if path.is_file()]) == 5
    assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    appender.close()
    rows.close()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720, 0o1777])
@pytest.mark.parametrize("folder", [".", "journal", "quarantine"])
def test_a_directory_others_can_write_to_is_refused(directory: QueueDirectory, folder: str, mode: int) -> None:
    path = Path(directory.root) / folder
    path.chmod(mode)
    for refuse in (directory.prepare, directory.check):
        with pytest.raises(QueueDirectoryError, match=f"can be written by others.*{path.resolve()}"):
            refuse()


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_a_directory_others_can_only_read_is_accepted(directory: QueueDirectory, mode: int) -> None:
    Path(directory.root).chmod(mode)
    directory.prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("folder", [".", "journal"])
def test_a_directory_of_somebody_else_is_refused(directory: QueueDirectory, folder: str) -> None:
    os.chown(Path(directory.root) / folder, 12345, -1)
    with pytest.raises(QueueDirectoryError, match="belongs to user 12345"):
        directory.prepare()


@pytest.mark.parametrize("place", ["queue", "queue/journal", "queue/quarantine"])
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
    Path(directory.root).chmod(0o777)
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
    assert directory.segments() == directory.unfinished() == []
    assert directory.temporary_files() == []


# The names of segments


def test_a_released_segment_is_listed_once_where_it_was(directory: QueueDirectory) -> None:
    names = [segment_name(number, 1, b"\xc1abc") for number in range(3)]
    for name in names:
        (Path(directory.journal) / name).touch()
    released = directory.let_go(names[1])
    assert directory.segments() == [names[0], released, names[2]]
    assert directory.let_go(released) == released
    assert original_name(released) == names[1]
    assert original_name(names[1]) == names[1]
    assert released_name(released) == released == released_name(names[1])
    assert marker_in_name(released) == marker_in_name(names[1]) == b"\xc1abc"


def test_a_segment_that_is_released_during_a_listing_is_listed_once(directory: QueueDirectory) -> None:
    names = [segment_name(number, 1, b"\xc1abc") for number in range(3)]
    for name in names:
        (Path(directory.journal) / name).touch()
    real = os.listdir

    def miss(path: Path) -> list[str]:
        """A listing may show neither name of a file that is renamed meanwhile, or both."""
        listed = real(path)
        listed.remove(names[1])
        directory.let_go(names[1])
        return listed

    with replaced("listdir", miss, times=1):
        assert directory.segments() == [names[0], released_name(names[1]), names[2]]

    def see_both(path: Path) -> list[str]:
        return [*real(path), names[1]]

    with replaced("listdir", see_both, times=1):
        assert directory.segments() == [names[0], released_name(names[1]), names[2]]


def test_a_segment_that_is_gone_cannot_be_released(directory: QueueDirectory) -> None:
    with pytest.raises(FileNotFoundError):
        directory.let_go(segment_name(1, 1, b"\xc1abc"))


def test_a_directory_that_is_listed_while_writers_come_and_go_misses_none_that_stays(directory: QueueDirectory) -> None:
    stays = [segment_name(number, 1, b"\xc1abc") for number in range(300)]
    for name in stays:
        (Path(directory.journal) / name).touch()
    done = threading.Event()

    def release() -> None:
        for name in stays:
            directory.let_go(name)
        done.set()

    thread = threading.Thread(target=release)
    thread.start()
    while not done.is_set():
        assert [original_name(name) for name in directory.segments()] == stays
    thread.join(10)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_at_once_with_the_reason(
    directory: QueueDirectory, reports: Reports, code: int
) -> None:
    with refusing("flock", code):
        with pytest.raises(QueueDirectoryError, match=r"has no locks \(flock: .*\): use a local disk that has"):
            directory.prepare()
        with pytest.raises(QueueDirectoryError, match="has no locks"):  # as root no directory is prepared before
            append(open_appender(directory, reports), 0)
    append(open_appender(directory, reports), 1)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_works(directory: QueueDirectory, code: int) -> None:
    with refusing("link", code):
        identity = ensure_identity(directory)
    assert ensure_identity(directory) == identity
