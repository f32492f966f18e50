"""What all processes of a run asked of the file system, in the order in which it was done, recorded by strace.

strace sees what SQLite, Python and the shell do alike. It cannot see writes through a shared mapping: SQLite's ``-shm``
files, which hold nothing that counts (they are made anew by whoever opens a database first), are the only ones there
may be. :meth:`.disk.Disk.is_as` compares the record with the disk that the run has left: nothing may be missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,mknod,mknodat,rmdir,fsync,fdatasync,syncfs,sync,"
    "sync_file_range,mmap,copy_file_range,sendfile,lseek"
)
_LONGEST = 1 << 24
_PATIENCE = 240.0
_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
_ENDED = re.compile(r"^(\w+)\((.*)\) += (-?\d+|\?)(.*)$", re.DOTALL)
_DESCRIPTOR = re.compile(r"^(?:AT_FDCWD|-?\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?$")
_UNFINISHED = " <unfinished ...>"


class Call(NamedTuple):
    """One call that succeeded."""

    name: str
    arguments: tuple[str | bytes, ...]
    """Strings as bytes; descriptors as :class:`Opened` say where they lead."""
    result: int
    began: int
    """How many calls had ended when this one was begun: what these have done it may rely on."""
    process: int


class Opened(bytes):
    """The path of a descriptor, at the time of the call."""

    is_deleted = False


def why_not() -> str | None:
    """Return why nothing can be recorded here, None where it can."""
    program = shutil.which("strace")
    if program is None:
        return "strace is not installed (apt-get install strace)"
    tried = subprocess.run([program, "-f", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.decode().strip()[:200]}"


def recorded(command: Sequence[str], log: Path, environment: Mapping[str, str], cwd: Path) -> list[Call]:
    """Run a command to its end, with all processes that it starts; return what they did.

    Raises:
        RuntimeError: it did not end well.
    """
    strace = ["strace", "-f", "-qq", "-y", "-xx", "-s", str(_LONGEST), "--seccomp-bpf", "-e", "signal=none"]
    done = subprocess.run(
        [*strace, "-e", f"trace={_CALLS}", "-o", os.fspath(log), *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the run ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    with log.open() as lines:
        return list(parsed(lines))


def parsed(lines: Iterator[str] | Sequence[str]) -> Iterator[Call]:
    """Give the calls that succeeded, in the order in which they ended."""
    begun: dict[int, tuple[str, int]] = {}
    ended = 0
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        process, text = int(match[1]), match[2]
        began = ended
        if text.endswith(_UNFINISHED):
            begun[process] = text.removesuffix(_UNFINISHED), ended
            continue
        resumed = _RESUMED.match(text)
        if resumed is not None:
            start, began = begun.pop(process)
            text = start + resumed[2]
        call = _ENDED.match(text)
        if call is None or call[3] == "?" or int(call[3]) < 0:
            continue  # killed in it, or refused
        ended += 1
        yield Call(call[1], tuple(_argument(each) for each in call[2].split(", ")), int(call[3]), began, process)


def _argument(text: str) -> str | bytes:
    if text.startswith('"'):
        if not text.endswith('"'):
            raise ValueError(f"strace has cut off an argument of {len(text)} characters")
        return _bytes(text[1:-1])
    descriptor = _DESCRIPTOR.match(text)
    if descriptor is None:
        return text
    opened = Opened(_bytes(descriptor[1]))
    opened.is_deleted = descriptor[2] is not None
    return opened


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
