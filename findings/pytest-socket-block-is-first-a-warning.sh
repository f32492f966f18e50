#!/usr/bin/env bash
# What surprised: the constructor of SocketBlockedError warns. Where warnings are errors (`-W error`, the usual
#   `filterwarnings = error`) the code under test that opens a socket is not met by a RuntimeError but by a UserWarning,
#   and `pytest.raises(SocketBlockedError)` fails.
# Seen with: pytest-socket 0.8.1, pytest 9.2.0, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a program that treats "no socket" as an outage (by the kinds of errors that it
#   knows) sees an exception of another kind in the tests of its users.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pytest==9.2.0 pytest-socket==0.8.1
cd "$folder"

cat > test_blocked.py <<'PYTHON'
import socket


def test_what_is_raised():
    try:
        socket.socket()
    except Exception as error:
        print("raised:", type(error).__name__, "- bases:", ", ".join(each.__name__ for each in type(error).__mro__[1:3]))
PYTHON
venv/bin/python --version
for warnings in default error; do
  echo "-W $warnings"
  venv/bin/python -m pytest -q -s --disable-socket -W "$warnings" test_blocked.py | grep "raised:" | tee "seen-$warnings"
done
grep -q "raised: SocketBlockedError" seen-default && grep -q "raised: UserWarning" seen-error || { echo "this has changed"; exit 1; }
