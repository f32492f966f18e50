#!/usr/bin/env bash
# What surprised: ulid-transform's C++ part draws the 80 random bits from a generator in the process's memory, and a
#   fork copies it. Siblings give out the same random parts in the same order for ever; all that keeps their ULIDs apart
#   is the millisecond. uuid-utils (in Rust) and uuid of the standard library draw anew in each child.
# Seen with: ulid-transform 2.2.9, uuid-utils 1.2.0, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: workers that were forked after the first id (a preloaded application, a pool)
#   give two events one id when they track in the same millisecond, and the server drops the second as a repeat. No test
#   in one process, or with spawned ones, can see it.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ulid-transform==2.2.9 uuid-utils==1.2.0
cd "$folder"

cat > ids.py <<'PYTHON'
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version

import ulid_transform
import uuid_utils

print("ulid-transform", version("ulid-transform"), "uuid-utils", version("uuid-utils"), end=" ")
print("Python", platform.python_version())
MOMENT = 1_795_000_000.5  # given, so that the clock does not decide here


def ids_of_two_workers(make: Callable[[], str]) -> list[set[str]]:
    make()  # the application has made an id before it forks
    found = []
    for _ in range(2):
        reader, writer = os.pipe()
        if (worker := os.fork()) == 0:
            os.write(writer, " ".join(make() for _ in range(1000)).encode())
            os._exit(0)
        os.close(writer)
        with open(reader) as pipe:
            found.append(set(pipe.read().split()))
        os.waitpid(worker, 0)
    return found


seen = {}
for name, make in (
    ("ulid_at_time(), one moment", lambda: ulid_transform.ulid_at_time(MOMENT)),
    ("ulid_now(), random part", lambda: ulid_transform.ulid_now()[10:]),
    ("uuid_utils.uuid7(), end", lambda: str(uuid_utils.uuid7())[24:]),
):
    one, two = ids_of_two_workers(make)
    seen[name] = len(one), len(two), len(one & two)
    print(f"{name:27} ids of two workers: {len(one)} and {len(two)}, equal ones: {len(one & two)}")
if list(seen.values()) != [(1000, 1000, 1000), (1000, 1000, 1000), (1000, 1000, 0)]:
    sys.exit("this has changed")
PYTHON
venv/bin/python ids.py
