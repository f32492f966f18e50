#!/usr/bin/env bash
# What surprised: in a sub-interpreter (InterpreterPoolExecutor, concurrent.interpreters) `import msgpack` silently
#   gives the pure Python form, although the compiled one is installed and the main interpreter of the same process
#   uses it. No warning is given, and what it packs is the same.
# Seen with: msgpack 1.2.4, Python 3.14.10 and 3.15.2, on 2026-11-29.
# Why it matters to a durable event queue: packing an event costs many times as much there, and nothing says why. A
#   client that is fast in a benchmark is slow in somebody's pool of interpreters.
set -euo pipefail
python=${PYTHON:-python3.14}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 14))' 2>/dev/null; then
  echo "skipped: needs Python 3.14 or later; name one in PYTHON"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet msgpack==1.2.4
cd "$folder"

cat > packs.py <<'PYTHON'
import sys
from concurrent.futures import InterpreterPoolExecutor


def packer():
    import timeit

    import msgpack

    event = ["an id", "customer123", "api_call", {"path": "/v1/items", "bytes": 512, "cached": False}]
    pack = msgpack.Packer().pack
    return msgpack.Packer.__module__, pack(event).hex(), min(timeit.repeat(lambda: pack(event), number=2000, repeat=3))


if __name__ == "__main__":
    main = packer()
    with InterpreterPoolExecutor(1) as pool:
        other = pool.submit(packer).result()
    print(sys.version.split()[0], "main interpreter:", main[0], "sub-interpreter:", other[0])
    print("the same bytes:", main[1] == other[1])
    print(f"times as slow: {other[2] / main[2]:.0f}")
PYTHON
"$folder/venv/bin/python" -W error packs.py | tee output
grep -q "main interpreter: msgpack._cmsgpack sub-interpreter: msgpack.fallback\$" output &&
  grep -q "the same bytes: True" output || { echo "this has changed"; exit 1; }
