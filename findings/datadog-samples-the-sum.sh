#!/usr/bin/env bash
# What surprised: with aggregation on, `increment("events", sample_rate=0.1)` adds up every call, and then the dice are
#   thrown once for the whole sum: nine flushes out of ten send nothing at all, and the tenth sends it all, marked
#   "@0.1", which the agent multiplies by ten. A count of 1000 is read as 0, or as 10000.
# Seen with: datadog 0.56.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: turning aggregation on looks like the same counts in fewer packets. A counter
#   of accepted events with a sample rate, right within a per cent before, becomes noise, and one that is counted in a
#   single flush (a short job) is most likely missing.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datadog==0.56.0
cd "$folder"

cat > counts.py <<'PYTHON'
import platform
import random
import socket
import sys
from importlib.metadata import version

from datadog.dogstatsd.base import DogStatsd

print("datadog", version("datadog"), "Python", platform.python_version())
random.seed(1)
agent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
agent.bind(("127.0.0.1", 0))


def read_by_the_agent() -> float:
    total = 0.0
    try:
        while lines := agent.recv(65536).decode().split():
            for name, (value, _, *rate) in ((line.split(":")[0], line.split(":")[1].split("|")) for line in lines):
                total += float(value) / (float(rate[0].lstrip("@")) if rate else 1) if name == "events" else 0
    except TimeoutError:
        return total


def reads(aggregation: bool) -> list[int]:
    client = DogStatsd(
        host="127.0.0.1",
        port=agent.getsockname()[1],
        disable_telemetry=True,
        disable_aggregation=not aggregation,
        flush_interval=3600,  # flushed below instead
    )
    seen = []
    for _ in range(20):
        for _ in range(1000):
            client.increment("events", sample_rate=0.1)
        client.flush_aggregated_metrics()
        client.flush_buffered_metrics()
        agent.settimeout(0.1)
        seen.append(round(read_by_the_agent()))
    return seen


each, together = reads(aggregation=False), reads(aggregation=True)
print("1000 calls per flush, read by the agent without aggregation:", *each)
print("                                           with aggregation:", *together)
if not all(500 < count < 1500 for count in each) or set(together) != {0, 10000}:
    sys.exit("this has changed")
PYTHON
venv/bin/python counts.py
