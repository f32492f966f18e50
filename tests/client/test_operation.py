"""What an operator meets: directories, a full queue, and what is logged."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import QueueDirectoryError, QueueFull
from tests.rig import Rig, record, track, wait_until
from tests.scripts import lines

_NOBODY = 65534


@pytest.mark.parametrize(
    ("host", "warns"),
    [
        ("http://lotus.example.com", True),
        ("http://127.evil.example.com", True),
        ("http://127.0.0.1:8000", False),
        ("http://127.9.9.9", False),
        ("http://[::1]:8000", False),
        ("http://localhost", False),
        ("https://lotus.example.com", False),
    ],
)
def test_a_key_in_the_clear_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str, warns: bool
) -> None:
    Client(api_key="k", host=host, queue_dir=tmp_path / "queue")
    assert ("is not encrypted" in caplog.text) is warns


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_unsafe_queue_directory_is_refused_when_the_client_is_made(rig: Rig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, _NOBODY, _NOBODY)
        said = lines(
            f"""
            from lotus_durable.errors import QueueDirectoryError
            os.setgroups([])
            os.setgid({_NOBODY})
            os.setuid({_NOBODY})

            def refusal(path):
                try:
                    make(queue_dir=path)
                except QueueDirectoryError as error:
                    return error

            (queue_dir / "open").mkdir(mode=0o777)
            (queue_dir / "open").chmod(0o777)
            (queue_dir / "file").touch()
            say(refusal(queue_dir / "open"))
            say(refusal(queue_dir / "file"))
            say(refusal(queue_dir / "file" / "queue"))
            (queue_dir / "locked").mkdir(mode=0o000)
            say(refusal(queue_dir / "locked" / "queue"))
            say(refusal(queue_dir / "new"))
            """,
            folder,
            rig.server.host,
        )
    assert "can be written by others" in said[0]
    assert "is not a directory" in said[1]
    assert "is not a directory" in said[2]
    assert "Permission denied" in said[3]
    assert all("queue_dir" in line for line in said[:4])
    assert said[4] == "None"


@pytest.mark.skipif(os.geteuid() != 0, reason="for root")
def test_for_root_making_a_client_makes_nothing_on_disk_and_refuses_nothing(tmp_path: Path) -> None:
    """Root may be a server's master whose workers, other users, own the directory."""
    Client(queue_dir=tmp_path / "new", api_key="k")
    assert not (tmp_path / "new").exists()
    os.chmod(tmp_path, 0o777)
    client = Client(queue_dir=tmp_path, api_key="k", flusher="external")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(QueueDirectoryError, match="can be written by others"):
        track(client, 1)


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_a_full_queue_refuses_and_takes_again_when_it_is_drained(rig: Rig, backend: str) -> None:
    client = rig.client(backend=backend, max_queue_bytes=64 << 20)
    ids: list[str] = []

    def fill() -> None:
        for _ in range(3000):
            ids.extend(track(client, 1, properties={"x": "y" * 30_000}))

    for _ in range(2):
        with pytest.raises(QueueFull, match="max_queue_bytes"):
            fill()
        assert client.drain(60).complete
        wait_until(lambda: sum(each.stat().st_size for each in rig.queue_dir.iterdir()) < 30 << 20)
    assert len(ids) > 2000
    assert rig.check(ids).delivered == len(ids)


def test_damage_is_logged_also_where_nobody_listens(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    ids = rig.put(*[record(f"id-{number}") for number in range(3)])
    [name] = rig.directory.segments()
    path = Path(rig.directory.journal) / name
    data = bytearray(path.read_bytes())
    data[data.index(b"id-1")] ^= 0xFF
    path.write_bytes(data)
    client = rig.client(on_error=None)
    assert client.drain(20).complete
    assert f"segment {name}" in caplog.text
    assert set(rig.server.times_received) == {ids[0], ids[2]}
