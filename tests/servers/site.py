"""One deployment under test: a Lotus server, a queue directory, a ledger, and the oracle that compares them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from lotus_durable.flusher.stats import collect
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.stats import QueueStats
from lotus_durable.testing import FakeLotus
from tests.flusher.seen import ended, flushers_under
from tests.waiting import LIMIT, wait_until

from .apps.jobs import FOLDER
from .apps.ledger import read_ledger
from .apps.tracking import LEDGER
from .running import Running

REPOSITORY = Path(__file__).parents[2]
_LOG_SHOWN = 20_000  # characters, from its end


class Site:
    """Everything that a server needs to know; all of it inside ``root``.

    Args:
        root: a folder of its own; made.
        lotus: the server that events go to, started.
    """

    def __init__(self, root: Path, lotus: FakeLotus) -> None:
        self.root = root
        self.lotus = lotus
        self.queue_dir = root / "queue"
        self.directory = QueueDirectory(self.queue_dir)
        self.ledger = root / "ledger"
        self.scratch = root / "scratch"
        self.log = root / "server.log"
        self.variables: dict[str, str] = {FOLDER: str(self.scratch)}
        """Of the environment, beside the library's settings."""
        self._running: list[Running] = []
        for folder in (root, self.ledger, self.scratch):
            folder.mkdir(exist_ok=True)

    # Servers

    def environment(self) -> dict[str, str]:
        """Return the environment of a server: all of the library's settings are in it."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("LOTUS_", "TEST_", "PYTEST_"))
        }
        scratch = str(self.scratch)
        return {
            **inherited,
            "LOTUS_API_KEY": self.lotus.api_key,
            "LOTUS_HOST": self.lotus.host,
            "LOTUS_QUEUE_DIR": str(self.queue_dir),
            LEDGER: str(self.ledger),
            "TEST_FOLDER": str(REPOSITORY),
            "HOME": scratch,
            "TMPDIR": scratch,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            # Else eventlet imports dnspython, that an HTTP client where one is installed, and that fails when patched.
            "EVENTLET_NO_GREENDNS": "yes",
            "PATH": f"{Path(sys.executable).parent}:{inherited.get('PATH', os.defpath)}",
            **self.variables,
        }

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        prefix: Sequence[str] | None = None,
    ) -> Running:
        """Start a command.

        Args:
            command: what to run.
            environment: added to the site's.
            port: where it serves HTTP, if it does.
            prefix: a command that runs the command; if not given, one that makes it an ordinary user's.
        """
        prefix = ordinary_user() if prefix is None else prefix
        running = Running([*prefix, *command], {**self.environment(), **(environment or {})}, self.log, port=port)
        self._running.append(running)
        return running

    def end(self, *, show: bool) -> None:
        """End all that was started; show what it said."""
        for running in self._running:
            running.crash()
        self.kill_flusher()
        if show:
            for log in (self.log, Path(self.directory.log)):
                if log.exists():
                    sys.stdout.write(f"--- {log.name}:\n{log.read_text(errors='replace')[-_LOG_SHOWN:]}\n")

    # The flusher

    def flushers(self) -> set[int]:
        """Return the flushers of this queue that live."""
        return flushers_under(self.queue_dir)

    def kill_flusher(self) -> None:
        """SIGKILL whoever flushes, or is about to."""
        for pid in self.flushers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: ended(pid), f"flusher {pid} ended")  # type: ignore[misc]

    def give_queue_to(self, user: int) -> None:
        """End the flusher, and change the owner of the queue and all that is in it."""
        self.kill_flusher()
        for path in [self.queue_dir, *self.queue_dir.rglob("*")]:
            os.chown(path, user, user)

    # The oracle

    def accepted(self) -> set[str]:
        """Return the ids of the events that calls have returned."""
        return set(read_ledger(self.ledger).returned)

    def trackers(self) -> set[int]:
        """Return the processes that have tracked."""
        return {int(path.name.split("-")[1]) for path in self.ledger.glob("returned-*")}

    def wait_until_accepted(self, count: int) -> None:
        """Wait until so many events were accepted."""
        wait_until(lambda: len(self.accepted()) >= count, f"{count} events are accepted")

    def wait_until_all_arrived(self) -> None:
        """Wait until the server has every event that was accepted."""
        self.lotus.wait_until(
            lambda: self.accepted() <= self.lotus.times_received.keys(), LIMIT, what="all accepted events"
        )

    def check(self, *, at_least: int = 1, may_repeat: bool = False) -> QueueStats:
        """Everything that was accepted is at the server, nothing twice, nothing else; and the queue counts the same.

        Args:
            at_least: how many events there must have been, so that a test that tracks nothing fails.
            may_repeat: a flusher was killed, and what it had in flight may have been sent twice.
        """
        entries = read_ledger(self.ledger)
        assert len(entries.returned) >= at_least
        self.wait_until_all_arrived()
        times = self.lotus.times_received
        assert entries.collided() == set(), "two calls returned the same id"
        assert entries.never_tracked_in(times) == 0, "the server has what nobody tracked"
        assert self.lotus.database == set(times)
        assert may_repeat or set(times.values()) == {1}, "sent twice"
        wait_until(lambda: collect(self.directory).pending == 0, "the queue has no more to send")
        stats = collect(self.directory)
        assert (stats.accepted, stats.delivered, stats.in_memory) == (len(times), len(times), 0)
        return stats


@cache
def ordinary_user() -> tuple[str, ...]:
    """Return a prefix that makes a command one of an ordinary user, who may read what this one may.

    Root's clients look at nothing before the first event, and some servers refuse to run as root. In a user namespace
    root's files are the user's.
    """
    if os.geteuid() != 0 or not can_unshare("--user", "--map-user=1000"):
        return ()
    return ("unshare", "--user", "--map-user=1000", "--map-group=1000")


@cache
def can_unshare(*options: str) -> bool:
    """Whether namespaces of these kinds can be made here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", *options, "true"], check=False, capture_output=True).returncode == 0
