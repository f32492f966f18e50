#!/usr/bin/env bash
# What surprised: whether a child of multiprocessing, or a worker of a ProcessPoolExecutor, runs its exit handlers
#   (atexit) depends on the Python and on the start method, in silence. Spawned: always. Forked, which is Linux's
#   usual way until 3.13: never on 3.11.7 and 3.12.1, always on 3.13.0.
# Seen with: Python 3.11.7, 3.12.1 and 3.13.0, on 2026-11-29 (no package is installed).
# Why it matters to a durable event queue: the last events of a child that wait for an exit handler are lost on 3.12
#   and delivered on 3.13, and the script ends with status 0 both times. A test that spawns proves nothing for a
#   program that forks.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > children.py <<'PYTHON'
import atexit
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def work(name: str) -> None:
    atexit.register(Path(name).touch)


def main() -> None:
    ran = []
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        child = context.Process(target=work, args=(f"{method} Process",))
        child.start()
        child.join()
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            executor.submit(work, f"{method} ProcessPoolExecutor").result()
        names = [f"{method} {kind}" for kind in ("Process", "ProcessPoolExecutor")]
        ran += [name for name in names if os.path.exists(name)]
    print(sys.version.split()[0], "exit handlers ran in:", ", ".join(ran) )


if __name__ == "__main__":
    main()
PYTHON
status=0
for version in 3.11 3.12 3.13; do
  if ! "python$version" -c '' 2>/dev/null; then
    echo "skipped: no python$version on PATH"
    continue
  fi
  expected="spawn Process, spawn ProcessPoolExecutor"
  [[ $version == 3.13 ]] && expected="fork Process, fork ProcessPoolExecutor, $expected"
  "python$version" children.py | tee output
  grep -q "ran in: $expected\$" output || status=1
  rm -f ./*Process*
done
[[ $status == 0 ]] || echo "this has changed"
exit "$status"
