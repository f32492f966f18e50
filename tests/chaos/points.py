"""The named points at which a process is killed.

The harness asks for one by a file of its name. The process that comes to the point first claims it (a rename, which one
process alone can do) and sends SIGKILL to itself. The product knows nothing of this: its functions are wrapped, in the
processes under test alone.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

ARMS = "CHAOS_ARMS"
"""The environment variable with the folder of these files; a flusher inherits it from its starter."""

IN_WRITERS: Mapping[str, str] = {
    "torn write": "in the middle of the write of a frame",
    "written, not returned": "after the write, before track_event returns",
    "sealed": "a full segment is sealed, there is no next one yet",
    "carried over, not sealed": "what was in a deleted segment is written anew, and that one is still held",
    "about to start": "the lock of a start is held, nothing is started",
    "started": "a flusher is started, the starter has not returned",
}
IN_FLUSHERS: Mapping[str, str] = {
    "first instruction": "a flusher is a process, and nothing else yet",
    "before the lock": "all is imported, the lock is not taken",
    "lock taken": "the lock is taken, the books are not open",
    "before a request": "a batch is read, not sent",
    "sent": "a batch is sent, no answer read",
    "answered": "the answer is read, nothing of it is settled",
    "before settling": "the transaction is made up, not begun",
    "settled": "it is committed, and nothing has come of it",
    "before deleting": "the books are synced, a settled segment is not deleted",
    "deleted": "a segment is deleted, the books still name it",
    "lock released": "a flusher that leaves has let go of the lock, and lives",
}
POINTS: Mapping[str, str] = {**IN_WRITERS, **IN_FLUSHERS}


class Arms:
    """The harness's side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hits").mkdir(parents=True)

    def arm(self, name: str) -> None:
        """Have the next process killed that comes to this point."""
        (self.folder / name).touch()

    def disarm(self, name: str) -> None:
        """Ask for it no more; a process may have claimed it meanwhile."""
        (self.folder / name).unlink(missing_ok=True)

    def hits(self) -> list[tuple[str, int]]:
        """Return point and pid of each process that was killed at one, in no order."""
        return [
            (name, int(pid)) for name, _, pid in (each.rpartition("-") for each in os.listdir(self.folder / "hits"))
        ]


_spared: set[int] = set()


def spare_this_process() -> None:
    """Have this process pass all points; not its children."""
    _spared.add(os.getpid())


def claims(name: str) -> bool:
    """Whether this process is the one that is to die at this point, now."""
    if os.getpid() in _spared:
        return False
    folder = os.environ[ARMS]
    try:
        os.rename(f"{folder}/{name}", f"{folder}/hits/{name}-{os.getpid()}")
    except FileNotFoundError:
        return False
    return True


def reach(name: str) -> None:
    """Die here, if that is asked for."""
    if claims(name):
        die()


def die() -> NoReturn:
    """SIGKILL for this process, here."""
    while True:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1)


def wrap_writers() -> None:
    """Go around what tracks."""
    from lotus_durable.flusher import look, spawn
    from lotus_durable.queue import appender
    from lotus_durable.queue.format import encode_frame
    from lotus_durable.queue.writer import SegmentWriter

    append = SegmentWriter.append

    def append_or_die(writer: SegmentWriter, record: bytes) -> None:
        if claims("torn write"):
            frame = encode_frame(writer.header.marker, writer.sequence, record)
            os.pwrite(writer.descriptor, frame[: len(frame) * 2 // 3], writer.end)
            die()
        append(writer, record)

    _replace(SegmentWriter, "append", append_or_die)
    _around(SegmentWriter, "append", after="written, not returned")
    _around(appender.Appender, "_seal", after="sealed")
    _around(appender, "write_carried", after="carried over, not sealed")
    _around(look, "start_flusher", before="about to start", after="started")
    command = spawn._command

    def command_with_points(*called_with: Any) -> tuple[str, list[str]]:
        program, arguments = command(*called_with)
        ours = os.fspath(Path(__file__).with_name("boot.py"))
        return program, [ours if each.endswith("/flusher/boot.py") else each for each in arguments]

    _replace(spawn, "_command", command_with_points)


def wrap_flusher() -> None:
    """Go around what flushes."""
    from http.client import HTTPConnection

    from lotus_durable.delivery.lotus import EMPTY_BATCH, Lotus
    from lotus_durable.flusher.lock import FlusherLock
    from lotus_durable.queue.books import Books
    from lotus_durable.queue.consumer import Consumer
    from lotus_durable.queue.journal import Journal

    _around(FlusherLock, "acquire", before="before the lock")
    _around(FlusherLock, "release", after="lock released")
    _around(Consumer, "__init__", before="lock taken")
    _around(Books, "settle", before="before settling", after="settled")
    _around(Journal, "delete", before="before deleting")
    posting, getresponse, forget = Lotus.posting, HTTPConnection.getresponse, Books.forget
    sends_events = False

    def posting_or_die(place: Lotus, body: bytes) -> Any:
        nonlocal sends_events
        if body == EMPTY_BATCH:
            return (yield from posting(place, body))
        reach("before a request")
        sends_events = True
        answer = yield from posting(place, body)
        sends_events = False
        reach("answered")
        return answer

    def getresponse_or_die(connection: HTTPConnection) -> Any:
        if sends_events:
            reach("sent")
        return getresponse(connection)

    def forget_or_die(books: Books, segments: Mapping[bytes, Any]) -> None:
        if segments:
            reach("deleted")
        forget(books, segments)

    _replace(Lotus, "posting", posting_or_die)
    _replace(HTTPConnection, "getresponse", getresponse_or_die)
    _replace(Books, "forget", forget_or_die)


def _around(owner: Any, name: str, *, before: str | None = None, after: str | None = None) -> None:
    call: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(call)
    def call_or_die(*arguments: Any, **options: Any) -> Any:
        if before is not None:
            reach(before)
        result = call(*arguments, **options)
        if after is not None:
            reach(after)
        return result

    _replace(owner, name, call_or_die)


def _replace(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    setattr(owner, name, wrapper)
