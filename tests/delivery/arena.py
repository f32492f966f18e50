"""A process that forks workers, kills whichever leads, again and again, and tells what was accepted.

Run as ``python -m tests.delivery.arena QUEUE_DIR HOST WORKERS KILLS``. It has no threads, so its forks are clean. What
a worker was told is accepted, it appends to a file of its own: that, not the library, is what the test believes.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import filelock  # noqa: F401

from lotus_durable.client import Client

# All that is imported when it is first needed: here, once, and not in every worker again.
from lotus_durable.delivery import candidate, desk
from lotus_durable.delivery.transport import HttpTransport
from lotus_durable.http import failure, session  # noqa: F401
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat

LIMIT = 30.0


class Arena:
    def __init__(self, queue_dir: Path, host: str, workers: int) -> None:
        self.directory = QueueDirectory(queue_dir)
        self.records = queue_dir.with_name("accepted")
        self.records.mkdir()
        self.host = host
        self.ended = queue_dir.with_name("ended")
        self.pids = [self.fork() for _ in range(workers)]

    def client(self) -> Client:
        return Client(api_key="test-key", host=self.host, queue_dir=self.directory.root, flush_interval=0.01)

    def fork(self) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                self.work()
            finally:
                os._exit(0)
        return pid

    def work(self) -> None:
        watch_for_two_senders(self.records.with_name("sending"), self.records / "overlaps")
        client = self.client()
        record = os.open(self.records / f"{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        while not self.ended.exists():
            event_id = client.track_event(customer_id="c", event_name="x")
            os.write(record, f"{event_id}\n".encode())
            time.sleep(0.002)
        client.release(LIMIT)

    def kill_leader(self, before: int | None) -> int:
        deadline = time.monotonic() + LIMIT
        while True:
            assert time.monotonic() < deadline, "nobody took over"
            heartbeat = read_heartbeat(self.directory)
            if heartbeat is not None and heartbeat.pid != before and heartbeat.pid in self.pids:
                os.kill(heartbeat.pid, signal.SIGKILL)
                os.waitpid(heartbeat.pid, 0)
                self.pids.remove(heartbeat.pid)
                return heartbeat.pid
            time.sleep(0.001)

    def end(self) -> dict[str, Any]:
        self.ended.touch()
        for pid in self.pids:
            os.waitpid(pid, 0)
        client = self.client()
        report = client.drain(LIMIT)
        stats = client.stats()
        client.release(LIMIT)
        files = [path for path in self.records.iterdir() if path.name.isdigit()]
        return {
            "ids": [line for path in files for line in path.read_text().splitlines()],
            "overlaps": (self.records / "overlaps").exists(),
            "complete": report.complete,
            "accepted": stats.accepted,
            "delivered": stats.delivered,
        }


def watch_for_two_senders(lock: Path, mark: Path) -> None:
    """Leave a mark when a request begins while another process has one in flight."""
    post = HttpTransport.post_batch

    def watched(self: HttpTransport, body: bytes) -> Any:
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mark.touch()
            return post(self, body)

    HttpTransport.post_batch = watched  # type: ignore[method-assign]


def main() -> None:
    queue_dir, host, workers, kills = sys.argv[1:]
    candidate._POLL_INTERVAL = 0.02
    desk._LOOK_INTERVAL = 0.01
    arena = Arena(Path(queue_dir), host, int(workers))
    killed: int | None = None
    for _ in range(int(kills)):
        killed = arena.kill_leader(killed)
        arena.pids.append(arena.fork())
    sys.stdout.write(json.dumps(arena.end()))


if __name__ == "__main__":
    main()
