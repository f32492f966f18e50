"""Starting a flusher that is nobody's child.

An application that waits for its children must not find the flusher among them. So we start a shell, the shell starts
the flusher in the background and ends, and we reap the shell at once: the flusher is then a child of process 1. That
takes 1 ms, some 25 on a busy machine. Where there is no shell, an interpreter does the same (11 ms).

The settings, with the API key, go through a pipe that is filled before the start. They are in no argument and no
environment variable. What does not fit into a pipe goes through a file that has no name any more.

The functions are taken from ``posix``, not from ``os``: gevent and eventlet replace those of ``os`` by ones that wait
in their loops, and workers of gunicorn were seen to hang there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import posix
import sys
from collections.abc import Iterator

from lotus_durable._version import __version__
from lotus_durable.config import Config
from lotus_durable.disk import DiskErrorsSuppressed, is_file
from lotus_durable.options import OPTIONS
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.files import FILE_MODE

from .surroundings import COMMAND, PACKAGE, last_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal  # signal itself makes enums of all numbers

END_OF_SETTINGS = b"\0"
"""Not the end of the pipe: a child that another thread forks in the middle keeps that open for as long as it lives."""

SETTINGS, START = 3, 4
"""The descriptors of a flusher that begins: its settings, and the lock of its start."""

_SHELL = "/bin/sh"
_IN_BACKGROUND = f'{{ {{ echo {COMMAND} >/proc/self/comm; }} 2>/dev/null; exec "$@"; }} &'
"""It has its name before it is a Python: what comes to nothing is known by it too, see :func:`.hung.reap`."""
_NOT_PASSED_ON = ("on_error", "debug", "api_key_file", "queue_dir", "sync_mode")
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What a service manager gives one of its processes, which the flusher is not. ``LOTUS_`` and ``PYTHON`` variables are
left out too: the settings come by the pipe, and the interpreter is told where to look."""
_HELD_BACK = (_signal.SIGTERM, _signal.SIGINT)
"""Blocked until it has handlers for them: a service that is stopped in this moment ends a flusher, which notes that and
sends what it can, and not the start of one, which would count as failed and put off the next."""
_HIGH = 16
"""Descriptors are moved to this and above, or one of them could be what another is to become."""
LOG_SIZE = 500_000
"""Bytes of one generation of the log; there are two."""
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


def encode_settings(config: Config, paths: list[bytes], *, began: float, log_level: int, make_way: bool) -> bytes:
    """Return what a flusher is told: a Python literal, which takes no import to write and runs nothing to read.

    Paths are bytes: a flusher decodes them as UTF-8, and this process by its locale.
    """
    options: dict[str, Any] = {
        option.name: getattr(config, option.name) for option in OPTIONS if option.name not in _NOT_PASSED_ON
    }
    settings = {
        "version": __version__,
        "queue_dir": os.fsencode(config.queue_dir),
        "api_key_file": None if config.api_key_file is None else os.fsencode(config.api_key_file),
        "options": options,
        "constants": config.constants._asdict(),
        "paths": paths,
        "began": began,
        "log_level": log_level,
        "make_way": make_way,
    }
    return repr(settings).encode() + END_OF_SETTINGS


def size_of_log(directory: QueueDirectory, *, is_open: bool) -> int:
    """Return how long the log is; where no flusher has it open, a long one is begun anew: starts may fail for weeks."""
    with DiskErrorsSuppressed():
        size = os.stat(directory.log).st_size
        if is_open or size <= LOG_SIZE:
            return size
        os.replace(directory.log, f"{directory.log}.1")
    return 0


def start_flusher(interpreter: str, directory: QueueDirectory, settings: bytes, start_lock: int) -> None:
    """Start one; returns when it is on its way and nobody's child.

    The descriptor of the lock of a start is the flusher's from now on, and closed here.

    Raises:
        OSError: no process can be started.
    """
    with contextlib.ExitStack() as stack:
        _closed(start_lock, stack)
        told = _readable(settings, directory, stack)
        log = _closed(os.open(directory.log, _APPEND, FILE_MODE), stack)
        null = _closed(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), stack)
        given = {0: null, 1: log, 2: log, SETTINGS: told, START: start_lock}
        # All are moved first, or one could be overwritten before it is copied; they close themselves in the program.
        actions = [(os.POSIX_SPAWN_DUP2, _moved_up(descriptor, stack), there) for there, descriptor in given.items()]
        program, arguments = _command(interpreter, directory)
        options: dict[str, Any] = {
            "file_actions": actions,
            # A handler of the application's cannot be inherited, what it ignores or blocks can.
            "setsigmask": _HELD_BACK,
            "setsigdef": _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP},
        }
        try:
            # From the first instruction on it is out of reach of what ends the application's group or terminal.
            pid = posix.posix_spawn(program, arguments, _environment(), setsid=True, **options)
        except NotImplementedError:
            pid = posix.posix_spawn(program, arguments, _environment(), setpgroup=0, **options)
        last_groups[:] = [pid]
        try:
            _reap(pid)
        except BaseException:
            _reap(pid)  # a signal handler of the application raised: the shell ends at once all the same
            raise


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # it waits for any child, or for none (SIGCHLD ignored)
        posix.waitpid(pid, 0)


def _command(interpreter: str, directory: QueueDirectory) -> tuple[str, list[str]]:
    boot = os.path.join(PACKAGE, "flusher", "boot.py")
    python = [interpreter, "-I", "-S", "-X", "utf8", boot]
    # A shell would go back to the user that a program was started by, where it acts as another one.
    if _may_run(_SHELL) and (os.getuid(), os.getgid()) == (os.geteuid(), os.getegid()):
        return _SHELL, [_SHELL, "-c", _IN_BACKGROUND, "lotus-durable", *python, directory.root]
    return interpreter, [*python, "--fork", directory.root]


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LOTUS_", "PYTHON")) and name not in _NOT_INHERITED
    }


def _readable(settings: bytes, directory: QueueDirectory, stack: contextlib.ExitStack) -> int:
    """Return a descriptor from which the settings can be read to their end."""
    reading, writing = os.pipe()
    _closed(reading, stack)
    try:
        os.set_blocking(writing, False)
        try:
            if os.write(writing, settings) == len(settings):
                return reading
        except BlockingIOError:
            pass
    finally:
        os.close(writing)
    path = f"{directory.root}/settings-{os.getpid()}-{os.urandom(8).hex()}.tmp"
    descriptor = _closed(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE), stack)
    os.unlink(path)
    if os.write(descriptor, settings) != len(settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _moved_up(descriptor: int, stack: contextlib.ExitStack) -> int:
    return _closed(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH), stack)


def _closed(descriptor: int, stack: contextlib.ExitStack) -> int:
    """Have it closed in the end."""
    stack.callback(os.close, descriptor)
    return descriptor


# Which program is this Python? Not always sys.executable: that is uWSGI, say, where Python is embedded.


@functools.cache
def find_interpreter() -> str | None:
    """Return the path of an interpreter that runs what this process runs; None where there is none to be found.

    It has the version of this one, so that compiled modules fit; where it finds modules is no matter, it is told.
    """
    if getattr(sys, "frozen", False):
        return None  # one program with all in it: its executable would start the application again
    return next((path for path in _candidates() if _is_program(path)), None)


def _candidates() -> Iterator[str]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    executable = sys.executable or ""
    if _is_python(executable) and executable.startswith(f"{sys.prefix}{os.sep}"):
        yield executable
    # A virtual environment's own, for the sake of what its .pth files do.
    for prefix in (sys.prefix, sys.exec_prefix):
        for name in (version, "python3", "python") if prefix != sys.base_prefix else (version,):
            yield os.path.join(prefix, "bin", name)
    base: str | None = getattr(sys, "_base_executable", None)
    for path in (executable, base or ""):
        if _is_python(path):
            yield path
    yield os.path.join(sys.base_exec_prefix, "bin", version)


def _is_python(path: str) -> bool:
    """Whether a file is named as an interpreter is: python, python3, python3.13t."""
    name = os.path.basename(path)
    return name.startswith("python") and not name.removeprefix("python").removesuffix("t").strip("0123456789.")


def _may_run(path: str) -> bool:
    """Whether the user that this process acts as may run a program; not the one that it was started by."""
    return os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _is_program(path: str) -> bool:
    return os.path.isabs(path) and is_file(path) and _may_run(path)
