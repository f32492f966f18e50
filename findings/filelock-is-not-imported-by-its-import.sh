#!/usr/bin/env bash
# What surprised: on Python 3.15 `import filelock`, and even making a FileLock, reads only some of filelock's modules:
#   it opts in to lazy imports (`__lazy_modules__`), and the rest is read when a lock is first acquired. When the
#   package has been moved by then, a lock that was made before cannot be acquired: ImportError. On 3.14 it can.
# Seen with: filelock 4.3.1, Python 3.15.2 (fails) and 3.14.10 (does not), on 2026-11-29.
# Why it matters to a durable event queue: a process that lives through deploys imports all it needs at its start, since
#   a deploy replaces the packages on disk. From 3.15 on an import statement at the top of a module no longer does that;
#   sys.set_lazy_imports_filter(lambda *_: False) before it does.
set -euo pipefail
python=${PYTHON:-python3.15}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 14))' 2>/dev/null; then
  echo "skipped: needs Python 3.15, or 3.14 to compare; name one in PYTHON"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet filelock==4.3.1
cd "$folder"

cat > locks.py <<'PYTHON'
import os
import sys
from pathlib import Path

if sys.argv[1] == "at once":
    sys.set_lazy_imports_filter(lambda *_: False)
import filelock

lock = filelock.FileLock("lock")
package = Path(filelock.__file__).parent
os.rename(package, "moved")
try:
    lock.acquire(timeout=0)
    said = "acquired"
    lock.release()
except ImportError as error:
    said = f"ImportError: {error}"
finally:
    os.rename("moved", package)
print(f"{sys.version.split()[0]}, imported {sys.argv[1]}: {said}")
sys.stdout.flush()
os._exit(0)
PYTHON
"$folder/venv/bin/python" locks.py "as usual" | tee output
if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 15))'; then
  "$folder/venv/bin/python" locks.py "at once" | tee -a output
  grep -q "as usual: ImportError" output && grep -q "at once: acquired" output
else
  grep -q "as usual: acquired" output
fi || { echo "this has changed"; exit 1; }
