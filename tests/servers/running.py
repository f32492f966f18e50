"""A command under test: started, watched from outside, and always ended."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from .apps.tracking import SHOW_STACKS
from .processes import are_uploaders, children, in_session, living
from .site import REPOSITORY, Site
from .waiting import wait_until


class Running:
    """A process, and every process it forks.

    It leads a session of its own, so that all its descendants can be found, also when their parents are dead.

    Args:
        site: the deployment it belongs to.
        command: what to run.
        environment: what to add to the site's.
        port: of loopback, where it serves HTTP if it does.
    """

    def __init__(
        self, site: Site, command: Sequence[str], environment: Mapping[str, str] | None = None, *, port: int = 0
    ) -> None:
        self.port = port
        with site.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**site.environment(), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The pid of the process that was started, the master."""
        return self._process.pid

    def wait_until_it_serves(self) -> None:
        """Wait until it answers over HTTP."""
        wait_until(lambda: self._process.poll() is not None or self._answers(), "the server answers")
        assert self._process.returncode is None, f"the server ended with {self._process.returncode}"

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def workers(self) -> set[int]:
        """Return the pids of the master's living children that serve."""
        found = children(self.pid)
        return found - are_uploaders(found)

    def uploaders(self) -> set[int]:
        """Return the pids of its living uploaders (``flusher="process"``), orphans too."""
        return are_uploaders(self.processes())

    def processes(self) -> set[int]:
        """Return the pids of all its living processes, orphans too."""
        return living(self.pid)

    def kill(self, pid: int) -> None:
        """SIGKILL one of its processes."""
        assert pid in self.processes(), f"process {pid} is not one of its own"
        os.kill(pid, signal.SIGKILL)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to all processes, as a terminal does."""
        os.killpg(self.pid, number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self._process.send_signal(number)

    def wait_until_ended(self) -> int:
        """Wait until every process is gone, orphans too; return the exit status of the first."""
        wait_until(lambda: self._process.poll() is not None, "the master ended")
        wait_until(lambda: not self.processes(), "no process of it is left")
        return self._process.returncode

    def zombies(self) -> set[int]:
        """Return the pids of children that ended and that the living master has not fetched."""
        return {seen.pid for seen in in_session(self.pid) if seen.is_zombie and seen.parent == self.pid}

    def show_stacks(self) -> None:
        """Have its processes show in the log where they are; those that do not know how end by it."""
        for pid in self.processes():
            os.kill(pid, SHOW_STACKS)

    def end(self) -> None:
        """Kill all that is left of it."""
        # The master first: it would start new workers. Until it is waited for its pid, the session's name, stays taken.
        self._process.kill()
        wait_until(self._kill_the_rest, "nothing of it is left")
        self._process.wait()

    def _kill_the_rest(self) -> bool:
        rest = self.processes() - {self.pid}
        for pid in rest:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not rest
