"""Going around the product's calls, in a process under test, so that it can die between any two of them.

What is wrapped are system calls by the files they are for, the queue's ``append``, the store's ``insert``, and the
transport: the product is not changed and holds no hooks for tests.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from lotus_durable.queue.buffer import MemoryBuffer

from lotus_durable.delivery.transport import HttpTransport
from lotus_durable.queue.books import Store

from .points import Arms, die

ARMS = "CHAOS_ARMS"
"""The environment variable with the folder of the :class:`~.points.Arms`; without it nothing is wrapped."""
SEED = "CHAOS_SEED"
STARTER = "CHAOS_STARTER"
"""The pid of the harness."""
FULL_BELOW = "CHAOS_FULL_BELOW"
"""Below which path writes are refused when the harness says so; not set where a real disk is filled."""

_PR_SET_PDEATHSIG = 1
_SMALLEST_BATCH = 20
"""Bytes: shorter bodies are the empty batches of a probe."""


class Kept:
    """Whether the call in progress, in this thread, kept its event in memory: then it is not on disk at return."""

    def __init__(self) -> None:
        self._local = threading.local()

    def note(self) -> None:
        self._local.kept = True

    def take(self) -> bool:
        """Return whether it was so since the last question."""
        kept = getattr(self._local, "kept", False)
        self._local.kept = False
        return kept


kept_in_memory = Kept()


_installed: list[Arms] = []


def install_from_environment(environ: Mapping[str, str]) -> None:
    """Wrap what is to be wrapped in this process."""
    if int(environ[STARTER]) == os.getppid():
        end_with_starter()
    if not os.path.exists(f"/proc/{environ[STARTER]}"):
        os._exit(0)  # the harness is gone already
    arms = Arms(Path(environ[ARMS]), seed=environ.get(SEED, ""))
    _installed.append(arms)
    wrap_queue(arms)
    wrap_files(arms)
    wrap_delivery(arms)
    if FULL_BELOW in environ:
        wrap_disk(arms, environ[FULL_BELOW])


def reseed(seed: str) -> None:
    """Draw by a seed of its own, in a process that was forked."""
    for arms in _installed:
        arms.reseed(seed)


def end_with_starter() -> None:
    """Have this process killed when its starter ends, also when that is killed, and even if it is stopped then.

    Not for what a worker starts: how that learns of its starter's end is the product's affair.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def wrap_queue(arms: Arms) -> None:
    """The queue's append, and the memory buffer's add."""
    from lotus_durable.queue.sqlite.queue import SqliteQueue

    from lotus_durable.queue.journal import JournalQueue

    def wrap_append(kind: Any) -> None:
        append = kind.append

        def append_or_die(queue: Any, record: bytes) -> None:
            if arms.claims("torn-write"):
                _tear("write", ".seg")
            append(queue, record)
            arms.reach("written-not-returned")

        _replace(kind, "append", append_or_die)

    wrap_append(JournalQueue)
    wrap_append(SqliteQueue)
    add = MemoryBuffer.add

    def noted_add(buffer: MemoryBuffer, record: bytes) -> None:
        add(buffer, record)
        kept_in_memory.note()

    _replace(MemoryBuffer, "add", noted_add)


def wrap_files(arms: Arms) -> None:
    """Renames, deletions, syncs and the slots, by the names of the files."""
    _wrap_names(arms)
    _wrap_contents(arms)


def _wrap_names(arms: Arms) -> None:
    rename, replace, unlink = os.rename, os.replace, os.unlink
    has_a_segment = False

    def rename_or_die(source: Any, target: Any, **options: Any) -> None:
        nonlocal has_a_segment
        if os.fspath(target).endswith(".seg"):
            if has_a_segment:
                arms.reach("rotating")
            has_a_segment = True
        rename(source, target, **options)

    def replace_or_die(source: Any, target: Any, **options: Any) -> None:
        is_state = os.path.basename(target) == "state"
        if is_state:
            arms.reach("cursor-written-not-renamed")
        replace(source, target, **options)
        if is_state:
            arms.reach("renamed-directory-not-synced")

    def unlink_or_die(path: Any, **options: Any) -> None:
        is_segment = os.fspath(path).endswith(".seg")
        if is_segment:
            arms.reach("deleting-segment")
        unlink(path, **options)
        if is_segment:
            arms.reach("deleting-segment")

    _replace(os, "rename", rename_or_die)
    _replace(os, "replace", replace_or_die)
    _replace(os, "unlink", unlink_or_die)


def _wrap_contents(arms: Arms) -> None:
    fsync, pwrite = os.fsync, os.pwrite

    def fsync_or_die(descriptor: Any) -> None:
        if "/quarantine" in _path_of(descriptor):
            arms.reach("quarantining")
        fsync(descriptor)

    def pwrite_or_die(descriptor: int, data: bytes, offset: int) -> int:
        if arms.claims("slot-half-written"):
            pwrite(descriptor, data[: len(data) // 2], offset)
            die()
        return pwrite(descriptor, data, offset)

    _replace(os, "fsync", fsync_or_die)
    _replace(os, "pwrite", pwrite_or_die)


def wrap_delivery(arms: Arms) -> None:
    """A request with events in it: before it is sent, before its answer is read, and before anything comes of that."""
    from lotus_durable.queue.sqlite import consumer as sqlite_consumer

    post_batch, getresponse, insert = HttpTransport.post_batch, HTTPConnection.getresponse, Store.insert
    sqlite_insert = sqlite_consumer._insert
    sending = threading.local()

    def post_batch_or_die(transport: HttpTransport, body: bytes) -> Any:
        if len(body) < _SMALLEST_BATCH:
            return post_batch(transport, body)
        arms.reach("read-not-sent")
        sending.events = True
        try:
            answer = post_batch(transport, body)
        finally:
            sending.events = False
        arms.reach("answered-nothing-stored")
        return answer

    def getresponse_or_die(connection: HTTPConnection) -> Any:
        if getattr(sending, "events", False):
            arms.reach("sent-no-answer")
        return getresponse(connection)

    def insert_or_die(store: Store, *arguments: Any) -> int:
        row = insert(store, *arguments)
        arms.reach("stored-cursor-not-moved")
        return row

    _replace(HttpTransport, "post_batch", post_batch_or_die)
    _replace(HTTPConnection, "getresponse", getresponse_or_die)

    def sqlite_insert_or_die(connection: Any, table: Any, events: Any) -> None:
        sqlite_insert(connection, table, events)
        if events:
            arms.reach("stored-cursor-not-moved")

    _replace(Store, "insert", insert_or_die)
    _replace(sqlite_consumer, "_insert", sqlite_insert_or_die)


def wrap_disk(arms: Arms, queue_dir: str) -> None:
    """Refuse writes and new files below ``queue_dir`` when the harness says that the disk is full.

    Only where no disk can be mounted that is really filled: SQLite's own writes go on.
    """
    write, open_ = os.write, os.open

    def refuses(path: str) -> bool:
        return arms.is_disk_full() and path.startswith(queue_dir)

    def write_if_room(descriptor: int, data: bytes) -> int:
        if refuses(_path_of(descriptor)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    def open_if_room(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if arms.is_disk_full() and flags & os.O_CREAT:
            name = os.fspath(path)
            if isinstance(name, str) and refuses(name) and not os.path.exists(name):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        return open_(path, flags, *arguments, **options)

    _replace(os, "write", write_if_room)
    _replace(os, "open", open_if_room)


def _tear(call: str, suffix: str) -> None:
    """Let this process die in the middle of its next ``os.<call>`` to such a file."""
    real: Callable[..., int] = getattr(os, call)

    def torn(descriptor: int, data: bytes) -> int:
        if _path_of(descriptor).endswith(suffix):
            real(descriptor, data[: max(1, len(data) * 2 // 3)])
            die()
        return real(descriptor, data)

    _replace(os, call, torn)


def _replace(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    setattr(owner, name, wrapper)


def _path_of(descriptor: Any) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor if isinstance(descriptor, int) else descriptor.fileno()}")
    except OSError:
        return ""
