#!/usr/bin/env bash
# What surprised: where gunicorn imports a dirty app depends on how many workers it may have. `--dirty-app module:Class`
#   imports the module in the *master* process, without --preload, and every HTTP worker and dirty worker inherits
#   it by fork; `--dirty-app module:Class:2` imports it in each dirty worker and nowhere else. In neither case do
#   exit handlers (atexit) run in a dirty worker: it calls the app's close() and ends by os._exit().
# Seen with: gunicorn 27.0.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a module that makes a client when it is imported makes it in the master
#   in one case, so open files, threads and a lock are there before all forks; and what is left in a dirty worker at
#   its end can be seen to in close() only.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'jobs -p | xargs -r kill; rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gunicorn==27.0.1
cd "$folder"
export HOME=$folder # gunicorn puts its control socket there

cat > heavy.py <<'PYTHON'
import atexit
import os

from gunicorn.dirty.app import DirtyApp


def note(what: str) -> None:
    with open("notes", "a") as notes:
        notes.write(f"{what} {os.getpid()}\n")


note("imported")
atexit.register(note, "atexit")


class Work(DirtyApp):
    def init(self):
        note("init")

    def __call__(self, action, *args, **kwargs):
        return action

    def close(self):
        note("close")
PYTHON
echo 'def app(environ, start_response): start_response("200 OK", []); return []' > web.py

venv/bin/python -c 'import gunicorn, platform; print("gunicorn", gunicorn.__version__, "Python", platform.python_version())'
for app in heavy:Work heavy:Work:2; do
  rm -f notes
  venv/bin/gunicorn --bind unix:socket --dirty-workers 2 --dirty-app "$app" web:app > log 2>&1 &
  master=$!
  for _ in $(seq 300); do
    [[ $(grep -cs init notes) == 2 ]] && break
    sleep 0.1
  done
  kill "$master"
  wait "$master"
  imported=$(sed -n "s/^imported $master\$/the master/p;s/^imported .*/a worker/p" notes |
    sort | uniq -c | paste -sd, | tr -s ' ')
  in_workers=$(sed -n 's/^init //p' notes | while read -r pid; do grep -cx "atexit $pid" notes || true; done | paste -sd+)
  closed=$(grep -c close notes)
  echo "$app: imported by$imported; close() ran in $closed workers, atexit in $in_workers"
  echo "$app$imported,$closed,$in_workers" >> all
done
diff - all <<'SEEN' || { echo "this has changed"; exit 1; }
heavy:Work 1 the master,2,0+0
heavy:Work:2 2 a worker,2,0+0
SEEN
