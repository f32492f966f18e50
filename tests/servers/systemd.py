"""systemd, as process 1 of namespaces of its own, with the units of a test; its cgroups are the kernel's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.flusher.seen import parent_of
from tests.waiting import wait_until

from .running import Running
from .site import Site, can_unshare, ordinary_user

PROGRAM = shutil.which("systemd", path="/usr/lib/systemd:/lib/systemd")
NAMESPACES = ("--fork", "--pid", "--mount", "--cgroup", "--mount-proc", "--kill-child")
_BOOT = """
echo $$ >{cgroup}/cgroup.procs
exec unshare {namespaces} sh -ec '
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
mount --bind {state} /var/lib
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_LOG_TARGET=console SYSTEMD_UNIT_PATH={units} \
    {program} --system --unit=nothing.target --show-status=no
'
"""


def why_not() -> str:
    """Return why systemd cannot be run here; empty where it can."""
    if os.geteuid() != 0:
        return "only root can run systemd"
    if PROGRAM is None:
        return "systemd is not installed"
    if _cgroups() is None:
        return "no cgroups of version 2 can be made here"
    return "" if can_unshare(*NAMESPACES) else "no namespaces can be made here"


def _cgroups() -> Path | None:
    """Return where cgroups of version 2 are mounted, and can be made."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2" and os.access(place, os.W_OK)), None)


class Systemd:
    """A running systemd that starts nothing by itself.

    Args:
        site: whose events the units track, as its environment says.
    """

    def __init__(self, site: Site) -> None:
        cgroups = _cgroups()
        assert cgroups is not None
        self.site = site
        self.state = site.root / "state"
        """What the units see as /var/lib."""
        self._units = site.root / "units"
        self._cgroup = cgroups / f"lotus-durable-test-{os.getpid()}"
        for folder in (self.state, self._units, self._cgroup):
            folder.mkdir()
        (self._units / "nothing.target").write_text("[Unit]\nDefaultDependencies=no\n")
        boot = _BOOT.format(
            cgroup=self._cgroup, namespaces=" ".join(NAMESPACES), state=self.state, units=self._units, program=PROGRAM
        )
        self._running: Running = site.run(["sh", "-ec", boot], prefix=())
        self._pid = wait_until(self._process_1, "systemd was started")
        wait_until(lambda: self.control("is-active", "nothing.target") == 0, "systemd serves")

    def add(self, name: str, command: Sequence[str], *, without: Sequence[str] = (), **service: str) -> None:
        """Write a unit, to be started by its name.

        Args:
            name: of the unit, without ``.service``.
            command: what it runs, as an ordinary user.
            without: names of the environment that it does not get.
            service: more of its settings.
        """
        variables = {name: value for name, value in self.site.environment().items() if name not in without}
        environment = self._units / f"{name}.environment"
        environment.write_text("".join(f'{name}="{value}"\n' for name, value in variables.items() if "\n" not in value))
        settings = {
            "ExecStart": " ".join([shutil.which("env") or "", *ordinary_user(), *command]),
            "EnvironmentFile": str(environment),
            "WorkingDirectory": variables["TEST_FOLDER"],
            "StandardOutput": f"append:{self.site.log}",
            "StandardError": f"append:{self.site.log}",
            **service,
        }
        lines = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self._units / f"{name}.service").write_text(f"[Unit]\nDefaultDependencies=no\n[Service]\n{lines}")
        assert self.control("daemon-reload") == 0

    def control(self, *words: str) -> int:
        """Run systemctl; return its exit status."""
        command = ["nsenter", f"--target={self._pid}", "--pid", "--mount", "--cgroup", "systemctl", *words]
        return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode

    def start(self, name: str) -> None:
        """Start a unit; of ``Type=oneshot``, run it to its end."""
        assert self.control("start", f"{name}.service") == 0

    def stop(self, name: str) -> None:
        """Stop a unit, and wait until systemd says that it is stopped."""
        assert self.control("stop", f"{name}.service") == 0

    def end(self) -> None:
        """Kill it and all that it runs, and remove its cgroups."""
        self._running.crash()

        def is_removed() -> bool:
            for folder, _, _ in os.walk(self._cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            return not self._cgroup.exists()

        wait_until(is_removed, "its cgroups are empty")

    def _process_1(self) -> int:
        pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
        return next((pid for pid in pids if parent_of(pid) == self._running.pid), 0)
