#!/usr/bin/env bash
# What surprised: pyright, also in strict mode, takes a value of any type in an assignment to another module's annotated
#   attribute (settings.host = 3, where settings.py has host: str | None), and says nothing. It does refuse a name that
#   the module does not have, and the same value for an attribute of a class; mypy refuses all three.
# Seen with: pyright 1.1.414 and mypy 2.4.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a library that is configured by assigning to its module's attributes is
#   checked by pyright for misspelt names only. So its settings have to be checked at run time, each with its reason.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pyright[nodejs]==1.1.414" mypy==2.4.1
cd "$folder"

cat > settings.py <<'PYTHON'
host: str | None = None


class Settings:
    host: str | None = None
PYTHON
cat > program.py <<'PYTHON'
import settings

settings.host = 3
settings.hots = "https://example.com"
settings.Settings.host = 3
PYTHON
echo '{"typeCheckingMode": "strict"}' > pyrightconfig.json

lines() { sed -En 's/.*program\.py:([0-9]+).*error.*/\1/p' | sort -nu | xargs; }
export PATH="$folder/venv/bin:$PATH"
python -c 'import platform; print("Python", platform.python_version())'
pyright --version
mypy --version
by_pyright=$(pyright program.py | lines || true)
by_mypy=$(mypy --strict program.py | lines || true)
printf 'lines that pyright refuses: %s\nlines that mypy refuses:    %s\n' "$by_pyright" "$by_mypy"
[[ $by_pyright == "4 5" && $by_mypy == "3 4 5" ]] || { echo "this has changed"; exit 1; }
