"""A server under test: started, found with all that it forks, and always ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from tests.flusher.seen import state_of
from tests.waiting import wait_until

_MARK = "TEST_SERVER"
"""A variable that is in the environment of all processes of one server, whatever becomes of their parents."""
_MOST_REQUESTS = 10_000
_PAUSE = 0.01  # seconds between two requests of a thread: the machine is shared


class Endpoint:
    """Where an application under test serves HTTP.

    Args:
        port: of loopback.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> int | None:
        """Request a path; return the process id in the answer, and None when there was no good answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        # A server that ends may cut its answer off.
        return int(body) if answer.status == http.client.OK and body.strip().isdigit() else None

    def serves(self) -> bool:
        """Whether it answers."""
        return self.get("/") is not None

    def track(self, count: int) -> int:
        """Have it track so many events, and return the process that did."""
        pid = self.get(f"/track/{count}")
        assert pid is not None, "the request failed"
        return pid

    @contextlib.contextmanager
    def load(self, threads: int = 2) -> Iterator[Load]:
        """Have it track from some threads, for as long as the block runs."""
        load = Load(self, threads)
        try:
            yield load
        finally:
            load.stop()


class Running(Endpoint):
    """A command, and every process that comes of it; the flushers that it starts are not counted among them.

    Args:
        command: what to run.
        environment: all of it.
        log: where its output goes.
        port: of loopback, where it serves HTTP if it does.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, *, port: int = 0) -> None:
        super().__init__(port)
        self._mark = f"{_MARK}={uuid4()}"
        name, _, value = self._mark.partition("=")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=environment["TEST_FOLDER"],
                env={**environment, name: value},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that was started: the master."""
        return self._process.pid

    def serves(self) -> bool:
        """Whether it answers; raises AssertionError when it has ended."""
        assert self._process.poll() is None, f"the server ended with {self._process.returncode}"
        return super().serves()

    # Its processes

    def processes(self) -> set[int]:
        """Return its processes that live, orphans too."""
        return {pid for pid in self._marked() if not _is_flusher(pid)}

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self._process.send_signal(number)

    def reload_under_load(self, workers: int) -> None:
        """Have it reload itself while it is asked, after as many other workers as it has, and for as many more."""
        with self.load() as load:
            load.wait_for_others(set(), 2 * workers)
            self.send(signal.SIGHUP)
            load.wait_for_others(set(load.answers), workers)

    def kill(self, pid: int) -> None:
        """SIGKILL one of its processes, if it still lives."""
        assert pid in self.processes() or state_of(pid) in ("", "Z"), f"process {pid} is not one of its own"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, all_at_once: bool = False) -> int:
        """Send the signal that stops it, and wait until every process is gone; return the exit status.

        Args:
            number: of the signal.
            all_at_once: it goes to all of the group, as from a terminal.
        """
        if all_at_once:
            os.killpg(self.pid, number)
        else:
            self.send(number)
        return self.wait_until_ended()

    def wait_until_ended(self, timeout: float = 30.0) -> int:
        """Wait until every process is gone, orphans too; return the exit status of the first."""
        wait_until(lambda: self._process.poll() is not None, "the master ended", timeout)
        wait_until(lambda: not self.processes(), "no process of it is left", timeout)
        return int(self._process.returncode)

    def crash(self) -> None:
        """SIGKILL all processes, flushers that it started too: the machine's memory ran out, say."""
        self._process.kill()  # first, as it would start others; until it is waited for, its number is not used again

        def is_gone() -> bool:
            rest = self._marked()
            for pid in rest - {self.pid}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not rest

        wait_until(is_gone, "nothing of it is left")
        self._process.wait()

    def _marked(self) -> set[int]:
        mark = self._mark.encode()
        found = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.add(int(path.parent.name))
        return found


class Load:
    """Requests for events, from threads; a request may fail: servers are killed meanwhile."""

    def __init__(self, server: Endpoint, threads: int) -> None:
        self._server = server
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: list[int] = []
        """The processes that answered, in order."""
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the requests in flight end, and make no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_answers(self, more: int, *, timeout: float = 30.0) -> None:
        """Wait until so many more requests were answered."""
        enough = len(self.answers) + more
        wait_until(lambda: len(self.answers) >= enough, f"{more} more requests are answered", timeout)

    def wait_for_others(self, than: set[int], count: int) -> set[int]:
        """Wait until so many other processes have answered, and return which."""
        wait_until(lambda: len(set(self.answers) - than) >= count, f"{count} that are not among {than} answer")
        return set(self.answers) - than

    def _run(self) -> None:
        for number in range(_MOST_REQUESTS):
            if self._stop.wait(_PAUSE):
                break
            pid = self._server.get(f"/track/{1 + number % 5}")
            if pid is not None:
                with self._lock:
                    self.answers.append(pid)


def _is_flusher(pid: int) -> bool:
    try:
        return b"/flusher/boot.py\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
