#!/usr/bin/env bash
# What surprised: uWSGI loads the application and then forks its workers from C, without telling Python: callbacks
#   given to os.register_at_fork() run in none of the workers, also with --enable-threads. The same callbacks run
#   for an os.fork() that a worker makes itself.
# Seen with: pyuwsgi 2.0.30.post1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: whatever a client re-makes in a fork hook (a connection, a thread, its pool
#   of random ids, its own file) is shared by all workers here: two of them write into one file and give out the
#   same ids. Only looking at the process id at each call, or memory that the kernel wipes at fork, is sure.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'jobs -p | xargs -r kill -INT; rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyuwsgi==2.0.30.post1
cd "$folder"

cat > application.py <<'PYTHON'
import os

hooks = []
os.register_at_fork(after_in_child=lambda: hooks.append(os.getpid()))
loaded_by = os.getpid()


def application(environ, start_response):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"%d" % len(hooks))
        os._exit(0)
    os.waitpid(child, 0)
    start_response("200 OK", [])
    forked = "a fork of the loading process" if os.getpid() != loaded_by else "the loading process"
    yield f"{forked}: {len(hooks)} hooks ran in it, {os.read(reader, 9).decode()} in a child of its own".encode()
PYTHON

venv/bin/python -c 'import platform; from importlib.metadata import version
print("pyuwsgi", version("pyuwsgi"), "Python", platform.python_version())'
venv/bin/uwsgi --http-socket socket --master --processes 2 --enable-threads --need-app \
  --wsgi-file application.py > log 2>&1 &
for _ in $(seq 300); do
  grep -qs "spawned uWSGI worker 2" log && break
  sleep 0.1
done
answer=$(venv/bin/python - <<'PYTHON'
import socket
with socket.socket(socket.AF_UNIX) as client:
    client.connect("socket")
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    print(b"".join(iter(lambda: client.recv(4096), b"")).decode().partition("\r\n\r\n")[2])
PYTHON
)
kill -INT $!
wait $!
echo "$answer"
[[ $answer == "a fork of the loading process: 0 hooks ran in it, 1 in a child of its own" ]] ||
  { echo "this has changed"; exit 1; }
