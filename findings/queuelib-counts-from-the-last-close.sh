#!/usr/bin/env bash
# What surprised: FifoDiskQueue knows its length and its place from a file that only close() writes, while push()
#   appends to the data at once. After a kill the old items are still in front, but they are not in the count: whoever
#   pushes 3 gets 3 of the old ones, and the last pop() to reach zero lets close() delete the files with the new ones.
# Seen with: queuelib 1.10.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: it looks like "a kill loses what was not closed". It is worse, for what was
#   pushed and closed in order *after* the kill is lost, what was popped before comes again, and len() is no count of
#   anything. A count has to be made from the data.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet queuelib==1.10.0
cd "$folder"

cat > queues.py <<'PYTHON'
import os
import platform
import signal
import sys
from importlib.metadata import version

from queuelib import FifoDiskQueue

print("queuelib", version("queuelib"), "Python", platform.python_version())
if (first := os.fork()) == 0:
    queue = FifoDiskQueue("queue")
    for number in range(5):
        queue.push(b"before the kill %d" % number)
    queue.pop()
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(first, 0)

queue = FifoDiskQueue("queue")
lengths = [len(queue)]
for number in range(3):
    queue.push(b"after the kill %d" % number)
lengths.append(len(queue))
queue.close()

queue = FifoDiskQueue("queue")
popped = []
while item := queue.pop():
    popped.append(item.decode())
queue.close()
print(f"after the kill: {lengths[0]} items, after 3 push() and an orderly close(): {lengths[1]}")
print("popped:", popped)
print("files left:", os.path.exists("queue"))
if (lengths, popped, os.path.exists("queue")) != ([0, 3], [f"before the kill {n}" for n in range(3)], False):
    sys.exit("this has changed")
PYTHON
venv/bin/python queues.py
