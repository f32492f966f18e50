#!/usr/bin/env bash
# What surprised: XTRIM (and MAXLEN of XADD) deletes entries that a consumer has been given and not acknowledged, but
#   not from the list of what it owes: the consumer that comes back and reads what it had gets their ids with {} for
#   their fields, XPENDING goes on counting them, and with an entry that was trimmed unread the group's "lag" never
#   comes back to 0, although nothing is left to read.
# Seen with: Redis 7.0.15 of Debian 12, redis-py 8.1.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a limit on a stream's length counts entries, acknowledged or not, and while a
#   consumer is stopped what was in its hands goes first. A recovery that takes {} for an event bills nothing and
#   acknowledges, or fails at the first field and again at each start; and a monitor that waits for pending 0 and lag 0
#   waits for ever.
set -euo pipefail
if ! command -v redis-server > /dev/null; then
  echo "skipped: Redis is not installed (Debian package redis-server)"
  exit 0
fi
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0
cd "$folder"

cat > stream.py <<'PYTHON'
import platform
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import redis

command_line = ["redis-server", "--port", "0", "--unixsocket", "socket", "--save", ""]
server = subprocess.Popen(command_line, stdout=subprocess.DEVNULL)
try:
    while not Path("socket").exists():
        threading.Event().wait(0.05)
    client = redis.Redis(unix_socket_path="socket", decode_responses=True)
    print("Redis", client.info("server")["redis_version"], "redis-py", version("redis"), end=" ")
    print("Python", platform.python_version())
    client.xgroup_create("events", "billing", mkstream=True)
    for number in range(5):
        client.xadd("events", {"number": number})

    def read(start: str, count: int) -> list[tuple[str, dict[str, str]]]:
        return client.xreadgroup("billing", "relay", {"events": start}, count=count)[0][1]

    def pending_and_lag() -> tuple[int, int]:
        group = client.xinfo_groups("events")[0]
        return group["pending"], group["lag"]

    read(">", 3)  # and the relay ends before it acknowledges
    client.xtrim("events", maxlen=1, approximate=False)
    again = [fields for _, fields in read("0", 10)]
    seen = [(again, client.xlen("events"), *pending_and_lag())]
    print(f"given 3 of 5, trimmed to 1: entries {seen[0][1]}, pending {seen[0][2]}; the consumer's own again: {again}")
    rest = read(">", 10)
    client.xack("events", "billing", *(number for number, _ in read("0", 10)))
    seen.append(([fields for _, fields in rest], client.xlen("events"), *pending_and_lag()))
    more = client.xreadgroup("billing", "relay", {"events": ">"})
    print(f"read {seen[1][0]} and acknowledged all: pending {seen[1][2]}, lag {seen[1][3]}, more to read: {more}")
finally:
    server.kill()
    server.wait()
if seen != [([{}, {}, {}], 1, 3, 2), ([{"number": "4"}], 1, 0, 1)] or more:
    sys.exit("this has changed")
PYTHON
venv/bin/python stream.py
