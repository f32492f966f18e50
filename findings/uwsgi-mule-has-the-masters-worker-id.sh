#!/usr/bin/env bash
# What surprised: in a uWSGI mule uwsgi.worker_id() is 0, and so it is in the master. "0 means that I am the master,
#   which forks later" is therefore wrong in a mule, which runs code of the application all its life. What
#   tells them apart is uwsgi.mule_id() (1 and up), or os.getpid() against uwsgi.masterpid().
# Seen with: pyuwsgi 2.0.30.post1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: a client that waits for the workers to be forked before it opens anything
#   waits for ever in a mule, and its events go nowhere without an error.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'jobs -p | xargs -r kill -INT; rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyuwsgi==2.0.30.post1
cd "$folder"

cat > ids.py <<'PYTHON'
import os

import uwsgi


def note(where: str) -> None:
    master = "is" if os.getpid() == uwsgi.masterpid() else "is not"
    with open("notes", "a") as notes:
        notes.write(f"{where}: worker_id {uwsgi.worker_id()}, mule_id {uwsgi.mule_id()}, {master} the master\n")
PYTHON
cat > application.py <<'PYTHON'
import ids
import uwsgidecorators

ids.note("application, before the forks")
uwsgidecorators.postfork(lambda: ids.note("after a fork"))


def application(environ, start_response):
    start_response("200 OK", [])
    return []
PYTHON
cat > mule.py <<'PYTHON'
import ids
import uwsgi

ids.note("the mule's own file")
uwsgi.mule_get_msg()
PYTHON

venv/bin/python -c 'import platform; from importlib.metadata import version
print("pyuwsgi", version("pyuwsgi"), "Python", platform.python_version())'
venv/bin/uwsgi --http-socket socket --master --processes 1 --enable-threads --need-app \
  --wsgi-file application.py --mule=mule.py --pythonpath . > log 2>&1 &
for _ in $(seq 300); do
  [[ $(wc -l 2>/dev/null < notes) == 4 ]] && break
  sleep 0.1
done
kill -INT $!
wait $!
sort notes | tee sorted
diff sorted - <<'SEEN' || { echo "this has changed"; exit 1; }
after a fork: worker_id 0, mule_id 1, is not the master
after a fork: worker_id 1, mule_id 0, is not the master
application, before the forks: worker_id 0, mule_id 0, is the master
the mule's own file: worker_id 0, mule_id 1, is not the master
SEEN
