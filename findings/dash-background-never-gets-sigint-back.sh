#!/usr/bin/env bash
# What surprised: a program that a shell without job control starts by `&` has SIGINT and SIGQUIT ignored, and keeps
#   it through exec, so Python does not install its KeyboardInterrupt and everything that the program starts inherits
#   it in turn. In bash `(trap - INT; exec program) &` brings the signal back; in dash, Debian's /bin/sh, the same
#   line is accepted and does nothing.
# Seen with: dash 0.5.12 and bash 5.2.15 of Debian 12, Python 3.11.7, on 2026-11-29. (No package is installed.)
# Why it matters to a durable event queue: a flusher that is started through `/bin/sh -c '... &'`, to be nobody's
#   child, can be stopped by SIGTERM but not by Ctrl-C, and so can what it starts. It has to set its own signals.
set -euo pipefail
python=${PYTHON:-python3}
if ! command -v dash > /dev/null; then
  echo "skipped: no dash on PATH (Debian package dash)"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > signals.py <<'PYTHON'
import signal
import subprocess
import sys

ignored = ["ignored" if signal.getsignal(number) == signal.SIG_IGN else "not" for number in (signal.SIGINT, signal.SIGQUIT)]
print(sys.argv[1], "SIGINT", ignored[0], "SIGQUIT", ignored[1], flush=True)
if sys.argv[1] == "background":
    subprocess.run([sys.executable, __file__, "its-own-child"], check=True)
PYTHON
cat > starts <<SHELL
"$python" signals.py in-front
"$python" signals.py background &
wait
(trap - INT QUIT; exec "$python" signals.py after-trap) &
wait
SHELL

"$python" -c 'import platform; print("Python", platform.python_version())'
if command -v dpkg-query > /dev/null; then
  # shellcheck disable=SC2016 # the names are dpkg-query's
  dpkg-query --show --showformat '${Package} ${Version}\n' dash bash || true
fi
for shell in dash bash; do
  "$shell" starts | sed "s/^/$shell: /" | tee -a seen
done
diff seen - <<'SEEN' || { echo "this has changed"; exit 1; }
dash: in-front SIGINT not SIGQUIT not
dash: background SIGINT ignored SIGQUIT ignored
dash: its-own-child SIGINT ignored SIGQUIT ignored
dash: after-trap SIGINT ignored SIGQUIT ignored
bash: in-front SIGINT not SIGQUIT not
bash: background SIGINT ignored SIGQUIT ignored
bash: its-own-child SIGINT ignored SIGQUIT ignored
bash: after-trap SIGINT not SIGQUIT not
SEEN
