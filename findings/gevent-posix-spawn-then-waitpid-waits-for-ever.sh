#!/usr/bin/env bash
# What surprised: after monkey.patch_all(), os.waitpid(os.posix_spawn(...), 0) never returns when the child has ended before gevent
#   listens for SIGCHLD, which it begins to do for the first child: a program that takes no time is enough.
# Seen with: gevent 26.9.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a shell that starts a flusher is such a program. gunicorn's gevent workers answered no further
#   request. So the functions are taken from `posix`, where nobody replaces them.
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$PYTHON" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gevent==26.9.0
cat > "$folder/show.py" <<'PYTHON_END'
from gevent import monkey

monkey.patch_all()
import os
import posix
import gevent
import gevent.os


def spawn_and_let_it_end(*arguments, **options):
    """What a busy machine does: the parent goes on when the child has ended."""
    pid = posix.posix_spawn(*arguments, **options)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


gevent.os._raw_posix_spawn = spawn_and_let_it_end
pid = os.posix_spawn("/bin/true", ["true"], os.environ)
with gevent.Timeout(5, False):
    os.waitpid(pid, 0)
    print("os.waitpid returned")
    raise SystemExit(1)
print("os.waitpid did not return within 5 s; posix.waitpid:", posix.waitpid(pid, os.WNOHANG)[0] == pid)
os._exit(0)
PYTHON_END
"$folder/venv/bin/python" "$folder/show.py"
