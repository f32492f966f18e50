"""Is everything as it must be for this user, here? A line for each question, with what to do. Changes nothing.

The settings of an application may be others than those of a shell: run it as the application's user, with its
environment.

It is one file: a function for each question, and all of them are asked.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from lotus_durable._version import __version__
from lotus_durable.config import Config
from lotus_durable.errors import LotusError
from lotus_durable.flusher.interpreter import find_interpreter
from lotus_durable.flusher.starting import Starting
from lotus_durable.flusher.stats import collect
from lotus_durable.queue.condition import condition
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.url import host_name
from lotus_durable.values import NamedTuple

from .overview import OLDEST_TAKEN, words_of_failed_start

if TYPE_CHECKING:
    import requests

Mark: TypeAlias = Literal["ok", "warning", "wrong"]

_NETWORKED = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "fuse.s3fs", "glusterfs", "ceph", "lustre", "virtiofs")
_FEW_BYTES = 256 * 1024 * 1024
_FEW_FILES = 10_000
_CLOCK_WARNS, _CLOCK_IS_WRONG = 60.0, 12 * 3600.0
"""Seconds from the server's: it refuses events a day ahead."""
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


class Answer(NamedTuple):
    """What was found about one thing."""

    about: str
    mark: Mark
    text: str
    """What is; never the key."""
    remedy: str = ""
    """What to do."""


def examine(config: Config) -> Iterator[Answer]:
    """Give an answer to each question; what cannot be found out is an answer too."""
    directory = QueueDirectory(config.queue_dir)
    for question in (_user, _directory, _file_system, _locks, _disk, _queue, _versions, _interpreter):
        yield from _asked(question.__name__.strip("_").replace("_", " "), question(config, directory))
    yield from _asked("server", _server(config))


def _asked(about: str, answers: Iterator[Answer]) -> Iterator[Answer]:
    try:
        yield from answers
    except (OSError, LotusError) as error:
        yield Answer(about, "wrong", str(error))


def _user(config: Config, directory: QueueDirectory) -> Iterator[Answer]:
    del config, directory
    user = os.geteuid()
    name = str(user)
    with contextlib.suppress(KeyError):
        name = pwd.getpwuid(user).pw_name
    if user == 0:
        yield Answer("user", "warning", "root", "run it as the application's user, with its environment: sudo -u …")
    else:
        yield Answer("user", "ok", f"{name} ({user})")


def _directory(config: Config, directory: QueueDirectory) -> Iterator[Answer]:
    del config
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


def _file_system(config: Config, directory: QueueDirectory) -> Iterator[Answer]:
    del config
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


def _locks(config: Config, directory: QueueDirectory) -> Iterator[Answer]:
    """Have another process hold both kinds of lock, and see that they end with it."""
    del config
    from lotus_durable.flusher import locks

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
    import fcntl

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
    if stats.oldest_age is not None and stats.oldest_age > OLDEST_TAKEN * 0.8:
        yield Answer("queue", "warning", text, "the server refuses events that are older than 30 days")
    elif room.used_bytes > config.max_queue_bytes * 0.8:
        yield Answer("queue", "warning", text, "it is nearly full (max_queue_bytes): find out why nothing is delivered")
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
        mark = "warning" if stats.pending and config.flusher == "external" else "ok"
        remedy = "start the service, lotus-durable flusher" if mark == "warning" else ""
        yield Answer("flusher", mark, "none runs; the next event starts one" if mark == "ok" else "none runs", remedy)


def _versions(config: Config, directory: QueueDirectory) -> Iterator[Answer]:
    del config
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


def _interpreter(config: Config, directory: QueueDirectory) -> Iterator[Answer]:
    del directory
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


def _server(config: Config) -> Iterator[Answer]:
    import requests

    name = host_name(config.host)
    if config.host.startswith("http://") and not name.startswith("127.") and name not in ("localhost", "::1"):
        yield Answer("host", "warning", f"{config.host} is not encrypted", "use https://")
    else:
        yield Answer("host", "ok", config.host)
    if config.api_key is None:
        yield Answer("key", "warning", "none is set", "set LOTUS_API_KEY_FILE or LOTUS_API_KEY for who flushes")
    headers = {} if config.api_key is None else {"X-API-KEY": config.api_key}
    with requests.Session() as session:
        try:
            url = f"{config.host}/api/ping/"
            answer = session.get(url, headers=headers, timeout=config.timeout, allow_redirects=False, stream=True)
        except requests.exceptions.SSLError as error:
            remedy = "name the CA bundle in REQUESTS_CA_BUNDLE; certificates are always verified"
            yield Answer("TLS", "wrong", _last_words(error), remedy)
            return
        except requests.exceptions.RequestException as error:
            remedy = "look at LOTUS_HOST, the proxy's variables and the firewall; events wait on disk meanwhile"
            yield Answer("server", "wrong", f"no answer: {_last_words(error)}", remedy)
            return
        with answer:
            if answer.status_code == requests.codes.not_found:
                yield from _of_2022(
                    session.get(f"{config.host}/api/customers/", headers=headers, timeout=config.timeout)
                )
            yield from _of_answer(answer.status_code, answer.headers.get("Date"), config)
            if answer.status_code == requests.codes.ok:
                yield _organisation(answer.raw.read(1 << 16, decode_content=True))


def _of_answer(status: int, date: str | None, config: Config) -> Iterator[Answer]:
    if config.host.startswith("https://"):
        yield Answer("TLS", "ok", "the certificate is verified")
    refused, redirects = (400, 401, 403), range(300, 400)
    if status in redirects:
        yield Answer("server", "wrong", f"it redirects (HTTP {status})", "set LOTUS_HOST to where it leads")
    elif status in refused:
        yield Answer(
            "key", "wrong", f"the server refuses it (HTTP {status})", "look at the key, and at which server it is"
        )
    elif status not in (200, 404):
        yield Answer("server", "wrong", f"HTTP {status}", "look at the server; events wait on disk meanwhile")
    if date is not None:
        with contextlib.suppress(ValueError, TypeError):
            away = time.time() - parsedate_to_datetime(date).timestamp()
            mark: Mark = "ok" if abs(away) < _CLOCK_WARNS else "warning" if abs(away) < _CLOCK_IS_WRONG else "wrong"
            text = f"{abs(away):.0f} s {'ahead of' if away > 0 else 'behind'} the server's"
            yield Answer("clock", mark, text, "" if mark == "ok" else "set it: events of another day are refused")


def _of_2022(answer: requests.Response) -> Iterator[Answer]:
    if answer.status_code == 200:  # noqa: PLR2004  # OK
        yield Answer("key", "ok", "known; the server is of 2022, which cannot say whose it is")
    elif answer.status_code in (401, 403):
        yield Answer("key", "wrong", f"the server refuses it (HTTP {answer.status_code})", "look at the key")
    else:
        yield Answer("server", "wrong", "it does not answer as Lotus does", "look at LOTUS_HOST")


def _organisation(body: bytes) -> Answer:
    import json

    try:
        name = json.loads(body)["organization_id"]
    except (ValueError, KeyError, TypeError):
        return Answer("server", "wrong", "it does not answer as Lotus does", "look at LOTUS_HOST: a proxy in between?")
    return Answer("key", "ok", f"of organisation {name}")


def _last_words(error: Exception) -> str:
    reason: object = error
    while isinstance(reason, Exception) and (inner := getattr(reason, "reason", None) or next(iter(reason.args), None)):
        if not isinstance(inner, Exception):
            break
        reason = inner
    return str(reason).rpartition(": ")[2].strip("')") or type(error).__name__


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
