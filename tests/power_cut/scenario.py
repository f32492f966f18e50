"""The run that is recorded: processes that track, and flushers, which are killed, ended and begun anew meanwhile.

All of it is the product's: two processes that track through :class:`~lotus_durable.Client`, and a flusher's life as
:class:`~lotus_durable.flusher.life.Flusher` lives it, with requests over HTTP to a FakeLotus that is not recorded. Each
notes in one file, the *ledger*, what it knows (:class:`Notes`). The ledger is written by calls that strace records too,
so that notes and writes have one order.

Segments, the books' reserve and what is let go of are small, as on a small disk, so that a short run sees all of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from lotus_durable import Client
from lotus_durable.config import Config
from lotus_durable.errors import LotusError
from lotus_durable.option_types import Backend, Durability
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from tests.chaos.plan import REPOSITORY, configuration
from tests.chaos.writers import end_with_starter

_EVENTS = 24
"""Of each process that tracks, before it waits for the other ones."""
_PATIENCE = 90.0
_LARGE = 5000


@dataclass(frozen=True, slots=True)
class Scene:
    """What is recorded."""

    queue_dir: str
    ledger: str
    host: str
    backend: Backend
    durability: Durability

    def config(self, **options: Any) -> Config:
        """Return the options of all processes."""
        config = configuration(self.host, Path(self.queue_dir))
        constants = config.constants._replace(segment_bytes=8 * 1024, parked_retry_interval=0.3)
        return config._replace(
            backend=self.backend,
            durability=self.durability,
            flusher="external",
            sync_interval=0.03,
            max_batch_events=20,
            constants=constants,
            **options,
        )


class Notes:
    """One line for each thing that somebody knows: a word, who writes it, and ids.

    ``attempts`` and ``accepted`` are of a call that tracks; ``sends`` and ``answered`` of a request; ``syncs`` and
    ``synced`` of a round in which the flusher syncs for all; ``destroys`` and ``destroyed`` of a hand on the segment
    that a process writes: its events may be in memory alone until that process has tracked again; ``removes`` of a hand
    on the books, and ``restored`` when the flusher has written them back.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def add(self, word: str, *ids: str) -> None:
        line = " ".join((word, str(os.getpid()), *ids))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def count(self, word: str, process: int = 0) -> int:
        """Return how often that was noted."""
        try:
            lines = Path(self._path).read_text().splitlines()
        except FileNotFoundError:
            return 0
        return sum(1 for line in lines if line.startswith(f"{word} {process or ''}"))


def track(scene: Scene, name: str, go_on: Callable[[], bool], *, ends: bool) -> None:
    """Track, and go on after half of it when that is right; end in order, or as a killed process does."""
    notes = Notes(scene.ledger)
    client = Client.from_config(scene.config())
    for number in range(2 * _EVENTS):
        if number == _EVENTS:
            _wait(go_on)
        id_ = f"{name}-{number}"
        event: dict[str, Any] = {"customer_id": name, "event_name": "call", "properties": {"n": number}}
        if number % 11 == 3:
            event["properties"]["padding"] = "x" * _LARGE
        if number % 16 == 5:
            event["time_created"] = datetime.now(UTC) + timedelta(days=3)  # parked: ahead of the server's time
        if number % 16 == 9:
            event["time_created"] = datetime.now(UTC) - timedelta(days=60)  # a dead letter
        notes.add("attempts", id_)
        client.track_event(**event, idempotency_id=id_)
        notes.add("accepted", id_)
        time.sleep(0.002)
    if ends:
        client.shutdown(timeout=0)
    os._exit(0)


def flush(scene: Scene) -> None:
    """Be the flusher until SIGTERM."""
    from lotus_durable.delivery.control import Control
    from lotus_durable.delivery.lotus import Lotus
    from lotus_durable.flusher import life
    from lotus_durable.flusher.destination import AsConfigured
    from lotus_durable.queue import journal, reserve

    quick = {"_SMALL": 2048, "_LARGE": 4096, "_FORGET_INTERVAL": 0.1}
    for module, small in ((reserve, {"_LOG": 64, "_FREE": 64}), (journal, quick)):
        for name, value in small.items():
            assert hasattr(module, name)
            setattr(module, name, value)
    notes = Notes(scene.ledger)
    sync_all, posting, report = life.sync_all, Lotus.posting, Control.report  # type: ignore[attr-defined]

    def noted_sync(*arguments: Any) -> None:
        notes.add("syncs")
        sync_all(*arguments)
        notes.add("synced")

    def noted_posting(place: Lotus, body: bytes) -> Any:
        ids = [each["idempotency_id"] for each in json.loads(body)["batch"]]
        notes.add("sends", *ids)
        answer = yield from posting(place, body)
        notes.add("answered", *ids)
        return answer

    def noted_report(control: Control, error: LotusError, *events: Any) -> None:
        if "written back" in str(error):
            notes.add("restored")
        report(control, error, *events)

    for owner, name, noted in (
        (Control, "report", noted_report),
        (life, "sync_all", noted_sync),
        (Lotus, "posting", noted_posting),
    ):
        setattr(owner, name, noted)
    told: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append("it was told to"))
    flusher = life.Flusher(
        scene.config, kind="external", ending=lambda: told[0] if told else None, destination=AsConfigured()
    )
    _wait(flusher.lock.acquire)
    flusher.run()


def play(scene: Scene) -> None:
    """Run all of it."""
    notes = Notes(scene.ledger)
    goes_on = Path(scene.ledger).with_name("go-on")
    first = _forked(lambda: track(scene, "first", goes_on.exists, ends=False))
    flusher = _flusher(scene)
    second = _forked(lambda: track(scene, "second", goes_on.exists, ends=True))
    _wait(lambda: notes.count("answered", flusher.pid) >= 3 and notes.count("synced", flusher.pid) >= 3, flusher)
    flusher.kill()
    flusher.wait()
    flusher = _flusher(scene)
    if scene.backend == "journal":
        _wait(lambda: notes.count("accepted", second) >= _EVENTS)
        _delete_a_segment(scene, notes, second)
    _wait(lambda: notes.count("answered", flusher.pid) >= 1, flusher)
    _remove_books(scene)
    goes_on.touch()
    _wait(lambda: notes.count("restored"), flusher)
    for pid in (first, second):
        assert os.waitpid(pid, 0)[1] == 0
    third = _forked(lambda: track(scene, "third", lambda: True, ends=True))
    assert os.waitpid(third, 0)[1] == 0
    rounds = notes.count("synced", flusher.pid)
    _wait(lambda: not _is_pending(scene) and notes.count("synced", flusher.pid) > rounds + 1, flusher)
    flusher.terminate()
    assert flusher.wait(_PATIENCE) == 0


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            end_with_starter()
            work()
        finally:
            os._exit(1)
    return pid


def _flusher(scene: Scene) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.power_cut.scenario", "flush", json.dumps(asdict(scene))]
    return subprocess.Popen(command, cwd=REPOSITORY)


def _delete_a_segment(scene: Scene, notes: Notes, pid: int) -> None:
    """Its writer alone can still reach what is in it."""
    for path in Path(scene.queue_dir, "journal").glob(f"*-{pid}-*.seg"):
        if "released" not in path.name:
            notes.add("destroys", "second")
            path.unlink()
    notes.add("destroyed", "second")


def _remove_books(scene: Scene) -> None:
    """Remove them while they are open: who has them open writes them back, before it deletes what is settled."""
    books = Path(QueueDirectory(scene.queue_dir).books)
    _wait(books.exists)
    Notes(scene.ledger).add("removes")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{books}{suffix}")


def _is_pending(scene: Scene) -> bool:
    return count(QueueDirectory(scene.queue_dir)).pending > 0


def _wait(condition: Callable[[], object], flusher: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for a condition, for as long as the flusher lives that it needs: nobody starts another one here."""
    ends = time.monotonic() + _PATIENCE
    while not condition():
        if flusher is not None and flusher.poll() is not None:
            raise RuntimeError(f"the flusher ended with {flusher.returncode}")
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {_PATIENCE:g} s")
        time.sleep(0.01)


if __name__ == "__main__":
    end_with_starter()
    {"flush": flush, "play": play}[sys.argv[1]](Scene(**cast("Any", json.loads(sys.argv[2]))))
