"""Is everything as it must be for this user, here? A line for each question, with what to do. Changes nothing.

The settings of an application may be others than those of a shell: run it as the application's user, with its
environment.

It is one file: a function for each question, and all of them are asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from lotus_durable._version import __version__
from lotus_durable.config import Config
from lotus_durable.errors import LotusError
from lotus_durable.flusher import locks
from lotus_durable.flusher.early_warning import of_age, of_room
from lotus_durable.flusher.spawn import find_interpreter
from lotus_durable.flusher.starting import Starting
from lotus_durable.flusher.stats import collect
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.limit import condition

from . import Answer, Mark
from .overview import words_of_failed_start
from .server_examination import examine_server

_NETWORKED = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "fuse.s3fs", "glusterfs", "ceph", "lustre", "virtiofs")
_FEW_BYTES = 256 * 1024 * 1024
_FEW_FILES = 10_000
_PATIENCE = 20.0
_HOLDER = """
import fcntl, os, struct, sys, time
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
other = os.open(sys.argv[2], os.O_RDWR)
if hasattr(fcntl, "F_OFD_SETLK"):
    fcntl.fcntl(other, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
print("held", flush=True)
time.sleep(60)
"""


def examine(config: Config) -> Iterator[Answer]:
    """Give an answer to each question; what cannot be found out is an answer too."""
    directory = QueueDirectory(config.queue_dir)
    for about, answers in (
        ("user", _user(directory)),
        ("directory", _directory(directory)),
        ("file system", _file_system(directory)),
        ("locks", _locks(directory)),
        ("disk", _disk(config, directory)),
        ("queue", _queue(config, directory)),
        ("versions", _versions(directory)),
        ("interpreter", _interpreter(config)),
    ):
        yield from _asked(about, answers)
    if config.relay_url is not None:
        from .broker_examination import examine_broker

        yield from _asked("broker", examine_broker(config))
    if config.relay_url is None or config.api_key is not None:  # a host that hands over asks no server
        yield from _asked("server", examine_server(config))


def _asked(about: str, answers: Iterator[Answer]) -> Iterator[Answer]:
    try:
        yield from answers
    except (OSError, LotusError, subprocess.SubprocessError) as error:
        yield Answer(about, "wrong", str(error))


def _user(directory: QueueDirectory) -> Iterator[Answer]:
    user = os.geteuid()
    owner = _owner(directory)
    if user == 0 != owner:
        whose = "…" if owner is None else _name(owner)
        remedy = f"run it as the application's user, with its environment: sudo -u {whose}"
        yield Answer("user", "warning", "root", remedy)
    else:
        yield Answer("user", "ok", f"{_name(user)} ({user})")


def _owner(directory: QueueDirectory) -> int | None:
    with contextlib.suppress(OSError):
        return os.stat(directory.root).st_uid
    return None


def _name(user: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return str(user)


def _directory(directory: QueueDirectory) -> Iterator[Answer]:
    if os.path.lexists(directory.root) and not os.path.isdir(directory.root):
        yield Answer("directory", "wrong", f"{directory.root} is no directory", "set another one (LOTUS_QUEUE_DIR)")
        return
    if not os.path.isdir(directory.root):
        nearest = _nearest(directory.root)
        may = os.access(nearest, os.W_OK | os.X_OK)
        remedy = "" if may else "make it, the application's user's own, or set another one (LOTUS_QUEUE_DIR)"
        yield Answer("directory", "ok" if may else "wrong", f"{directory.root} is not there yet, in {nearest}", remedy)
        return
    directory.check()
    mode = stat.S_IMODE(os.stat(directory.root).st_mode)
    if mode & 0o077:
        yield Answer("directory", "warning", f"{directory.root} (mode {mode:04o})", f"chmod 700 {directory.root}")
    else:
        yield Answer("directory", "ok", f"{directory.root} (mode {mode:04o})")


def _file_system(directory: QueueDirectory) -> Iterator[Answer]:
    place = os.path.realpath(_nearest(directory.root))
    mount, kind = _mount_of(place)
    if kind.startswith(_NETWORKED):
        remedy = "use a local disk: locks and syncs of network file systems are another matter"
        yield Answer("file system", "wrong", f"{kind} on {mount}", remedy)
    elif kind in ("tmpfs", "ramfs"):
        yield Answer("file system", "warning", f"{kind} on {mount}", "it is memory: events are gone after a reboot")
    elif kind == "overlay":
        remedy = "it goes with its container: mount a volume there"
        yield Answer("file system", "warning", f"{kind} on {mount}", remedy)
    else:
        yield Answer("file system", "ok", f"{kind} on {mount}")


def _locks(directory: QueueDirectory) -> Iterator[Answer]:
    """Have another process hold both kinds of lock, and see that they end with it."""
    folder = tempfile.mkdtemp(prefix=".lotus-doctor-", dir=_nearest(directory.root))
    holder: subprocess.Popen[bytes] | None = None
    try:
        first, second = (os.path.join(folder, name) for name in ("flock", "ofd"))
        for path in (first, second):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        holder = subprocess.Popen(  # noqa: S603  # ours
            [find_interpreter() or sys.executable, "-I", "-S", "-c", _HOLDER, first, second],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert holder.stdout is not None
        if holder.stdout.readline() != b"held\n":
            yield Answer("locks", "wrong", "another process could not take a lock", "use a local file system")
            return
        seen = not _can_lock(first) and locks.is_held(second) is True
        holder.kill()
        holder.wait(_PATIENCE)
        ended = _can_lock(first) and locks.is_held(second) is False
        if seen and ended:
            yield Answer("locks", "ok", "another process's are seen, and end when it is killed")
        else:
            what = "another process's are not seen" if not seen else "they outlive a process that is killed"
            yield Answer("locks", "wrong", what, "use a local file system: two flushers would send at once here")
    finally:
        if holder is not None:
            holder.kill()
            holder.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def _can_lock(path: str) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _disk(config: Config, directory: QueueDirectory) -> Iterator[Answer]:
    disk = os.statvfs(_nearest(directory.root))
    free, files = disk.f_bavail * disk.f_frsize, disk.f_favail
    text = f"{free // 1_000_000:,} MB free" + (f", {files:,} files can be made" if disk.f_files else "")
    few = free < min(_FEW_BYTES, config.max_queue_bytes) or (disk.f_files and files < _FEW_FILES)
    yield Answer("disk", "warning" if few else "ok", text, "make room: a queue must hold an outage" if few else "")


def _queue(config: Config, directory: QueueDirectory) -> Iterator[Answer]:
    if not os.path.isdir(directory.journal):
        yield Answer("queue", "ok", "there is none yet")
        return
    stats = collect(directory)
    room = condition(directory)
    text = f"{stats.pending:,} pending, {stats.parked:,} parked, {stats.dead_lettered:,} dead letters"
    early = [warning for about, warning in (*of_room(room, config.max_queue_bytes), *of_age(stats)) if about != "disk"]
    if early:
        yield Answer("queue", "warning", f"{text}; {'; '.join(early)}", "find out why nothing is delivered")
    elif stats.dead_lettered:
        yield Answer("queue", "warning", text, "look: lotus-durable dead-letters")
    else:
        yield Answer("queue", "ok", text)
    if room.quarantine_files:
        yield Answer("quarantine", "warning", f"{room.quarantine_files:,} files of damaged bytes", "look at the disk")
    flusher = stats.flusher
    if flusher is not None:
        mark: Mark = "ok" if flusher.alive and flusher.state not in ("blocked", "retrying") else "warning"
        text = f"process {flusher.pid} on {flusher.hostname}, {flusher.state}"
        yield Answer("flusher", mark, text + (f": {flusher.reason}" if flusher.reason else ""))
    elif (words := words_of_failed_start(directory)) is not None:
        last = words.strip().rpartition("\n")[2]
        yield Answer("flusher", "wrong", f"the last start failed: {last}", "mend that; the next event starts another")
    else:
        starts = config.flusher == "auto"
        text = "none runs; the next event starts one" if starts else "none runs, and no program starts one"
        remedy = "" if starts else "start the service, lotus-durable flusher"
        yield Answer("flusher", "ok" if starts else "warning", text, remedy)


def _versions(directory: QueueDirectory) -> Iterator[Answer]:
    others = set()
    stats = collect(directory) if os.path.isdir(directory.journal) else None
    if stats is not None and stats.flusher is not None:
        others.add(stats.flusher.version)
    if newest := Starting(directory, makes=False).read().newest_version:
        others.add(newest)
    others.discard(__version__)
    if others:
        remedy = "let all programs that share the queue have the newest"
        yield Answer("versions", "warning", f"this is {__version__}; in use too: {', '.join(sorted(others))}", remedy)
    else:
        yield Answer("versions", "ok", f"{__version__}, and no other is in use")


def _interpreter(config: Config) -> Iterator[Answer]:
    program = find_interpreter()
    if program is None:
        remedy = "run `lotus-durable flusher` beside the application, or call drain()"
        mark: Mark = "wrong" if config.flusher == "auto" else "ok"
        yield Answer("interpreter", mark, "none is found that could be a flusher", remedy)
        return
    code = "import sys; sys.path[:] = sys.argv[1:]; import msgpack, requests, filelock, persistqueue, sqlite3"
    tried = subprocess.run(  # noqa: S603  # the interpreter that runs this, or one of its kind
        [program, "-I", "-c", code, *sys.path], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if tried.returncode:
        why = tried.stderr.strip().rpartition("\n")[2]
        yield Answer("interpreter", "wrong", f"{program}: {why}", "install lotus-durable for this interpreter")
    else:
        yield Answer("interpreter", "ok", program)


def _nearest(path: str) -> str:
    """Return the path, or the nearest directory above it that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def _mount_of(path: str) -> tuple[str, str]:
    """Return where the file system of a path is mounted, and its kind."""
    best = ("?", "unknown")
    with contextlib.suppress(OSError), open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            _, mount, kind, *_ = line.split(" ")
            mount = mount.encode().decode("unicode_escape")
            is_above = path == mount or path.startswith(mount.rstrip("/") + "/")
            if is_above and (best[0] == "?" or len(mount) >= len(best[0])):
                best = (mount, kind)
    return best
