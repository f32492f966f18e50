#!/usr/bin/env bash
# What surprised: a program that only imports filelock, and never takes a lock, can have its os.fork() refused with a
#   RuntimeError: always when another thread's os.fork() is between its "before" and "after" hooks. On CPython 3.11
#   the same program forks, since filelock adds its audit hook from 3.12 on only.
# Seen with: filelock 4.3.1, Python 3.12.1 (raises) and 3.11.7 (does not), on 2026-11-29.
# Why it matters to a durable event queue: a client library that imports filelock in the application's process
#   changes the application's own forks (a process pool beside a subprocess with a preexec_fn, two threads that
#   start multiprocessing children). The lock has to be taken in a process of its own, where nobody else forks.
set -euo pipefail
python=${PYTHON:-python3.12}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
  echo "skipped: needs Python 3.12 or later; name one in PYTHON"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet filelock==4.3.1
cd "$folder"

cat > forks.py <<'PYTHON'
import os
import sys
import threading
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads are what this is about
inside, tried = threading.Event(), threading.Event()


def flush_the_log() -> None:
    """The application's own hook before a fork; it takes its time in one thread."""
    if threading.current_thread().name == "slow":
        inside.set()
        tried.wait(20)


os.register_at_fork(before=flush_the_log)
if sys.argv[1] == "with filelock":
    import filelock  # noqa: F401


def fork() -> str:
    try:
        child = os.fork()
    except RuntimeError as error:
        return f"RuntimeError: {error}"
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "forked"


other = threading.Thread(target=fork, name="slow")
other.start()
inside.wait(20)
print(fork())
tried.set()
other.join()
PYTHON
venv/bin/python -c 'import filelock, platform; print("filelock", filelock.__version__, "Python", platform.python_version())'
without=$(venv/bin/python forks.py "without filelock")
with=$(venv/bin/python forks.py "with filelock")
printf 'without filelock: %s\nwith filelock:    %s\n' "$without" "$with"
[[ $without == forked && $with == "RuntimeError: os.fork is unsafe"* ]] || { echo "this has changed"; exit 1; }
