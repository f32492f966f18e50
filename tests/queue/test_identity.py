"""What a queue says it is: written once, the same for all, and left alone when a later version wrote it."""

from __future__ import annotations

import errno
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.identity import (
    NO_KEY,
    Identity,
    LaterFormat,
    ensure_identity,
    fingerprint,
    read_identity,
)

from .faults import exit_status, full_disk, in_child, refusing

QUEUE_ID = bytes(range(16))


def test_a_queue_has_none_until_it_is_made_and_then_always_the_same(directory: QueueDirectory) -> None:
    assert read_identity(directory) is None
    identity = ensure_identity(directory)
    assert (identity.format, len(identity.queue_id)) == (1, 16)
    assert ensure_identity(directory) == read_identity(directory) == identity
    assert stat.S_IMODE(Path(directory.identity).stat().st_mode) == 0o600
    assert directory.temporary_files() == []


def test_the_file_is_the_documented_one(directory: QueueDirectory) -> None:
    assert Identity(1, QUEUE_ID).encode() == (b"lotus-durable queue\nformat 1\nid 000102030405060708090a0b0c0d0e0f\n")
    Path(directory.identity).write_bytes(Identity(1, QUEUE_ID).encode())
    assert read_identity(directory) == Identity(1, QUEUE_ID)


def test_queues_differ(tmp_path: Path) -> None:
    ids = set()
    for number in range(10):
        directory = QueueDirectory(tmp_path / str(number))
        directory.prepare()
        ids.add(ensure_identity(directory).queue_id)
    assert len(ids) == 10


@pytest.mark.parametrize("links", [True, False])
def test_processes_that_make_it_at_once_agree(directory: QueueDirectory, links: bool) -> None:
    def make() -> None:
        with refusing("link", errno.EPERM, times=None if not links else 0):
            identity = ensure_identity(directory)
        (Path(directory.root) / f"seen-{identity.queue_id.hex()}").touch()

    children = [in_child(make) for _ in range(16)]
    assert [exit_status(child) for child in children] == [0] * 16
    assert len(list(Path(directory.root).glob("seen-*"))) == 1


def test_threads_that_make_it_at_once_agree(directory: QueueDirectory) -> None:
    found: list[Identity] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_identity(directory))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(set(found)) == 1
    assert len(found) == 8


@pytest.mark.parametrize(
    "content", [b"lotus-durable queue\nformat 2\nid 00\n", b"lotus-durable queue\nformat 17\nname what it likes\n"]
)
def test_a_queue_of_a_later_version_is_left_alone(directory: QueueDirectory, content: bytes) -> None:
    Path(directory.identity).write_bytes(content)
    for look in (read_identity, ensure_identity):
        with pytest.raises(LaterFormat, match="use a newer version"):
            look(directory)
    assert Path(directory.identity).read_bytes() == content
    assert issubclass(LaterFormat, QueueDamaged)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        bytes(100),
        b"\xff" * 100,
        b"lotus-durable queue\n",
        b"lotus-durable queue\nformat 1\n",
        b"lotus-durable queue\nformat one\nid 00\n",
        b"lotus-durable queue\nformat 1\nid 0001\n",
        b"lotus-durable queue\nformat 0\nid 000102030405060708090a0b0c0d0e0f\n",
        b"lotus-durable queue\nformat 1\nid\n",
        b"something else\nformat 1\nid 000102030405060708090a0b0c0d0e0f\n",
    ],
)
def test_what_is_no_identity_is_damage_and_says_what_to_do(directory: QueueDirectory, content: bytes) -> None:
    Path(directory.identity).write_bytes(content)
    with pytest.raises(QueueDamaged, match="restore it from a backup") as raised:
        ensure_identity(directory)
    assert not isinstance(raised.value, LaterFormat)
    assert Path(directory.identity).read_bytes() == content


def test_a_full_disk_makes_none(directory: QueueDirectory) -> None:
    with full_disk(), pytest.raises(OSError, match="No space"):
        ensure_identity(directory)
    assert read_identity(directory) is None
    assert directory.temporary_files() == []


def test_a_directory_that_is_missing_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ensure_identity(QueueDirectory(tmp_path / "none"))


def test_a_fingerprint_tells_keys_apart_and_is_the_same_in_every_queue() -> None:
    assert fingerprint("first key") == fingerprint("first key") != fingerprint("second key")
    assert fingerprint("first key") == bytes.fromhex("077f953e28edc443"), "it stays as it is: it is in every segment"


@pytest.mark.parametrize("key", [None, ""])
def test_no_key_has_a_fingerprint_of_its_own(key: str | None) -> None:
    assert fingerprint(key) == NO_KEY == bytes(8)


def test_a_process_that_only_appends_loads_nothing_it_does_not_need() -> None:
    program = (
        "import sys; import lotus_durable.errors; before = set(sys.modules)\n"
        "import lotus_durable.queue.appender, lotus_durable.queue.identity\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"hashlib", "_hashlib", "ssl", "json", "sqlite3", "asyncio", "tempfile", "filelock", "requests", "random"}
    assert heavy.isdisjoint(loaded)
