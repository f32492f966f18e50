#!/usr/bin/env bash
# What surprised: beanstalkd with a binlog begins a new, full-sized binlog file each time that it starts. Where there is
#   no room for it, it ends, although all jobs are on the disk, none of them would need more room to be consumed, and
#   the same server went on handing them out a moment before, on the same full disk, when it only refused put (as
#   OUT_OF_MEMORY).
# Seen with: beanstalkd 1.12 of Debian 12, Linux 6.18, on 2026-11-30.
# Why it matters to a durable event queue: a disk that runs full is when the consumers have to get the backlog away, and
#   a restart, the first thing that anybody tries, stops just them. A queue needs a start that only reads.
set -euo pipefail
beanstalkd=$(command -v beanstalkd) || {
  echo "skipped: beanstalkd is not installed (Debian package beanstalkd)"
  exit 0
}
if [[ $(id -u) != 0 ]] || ! unshare --mount true 2> /dev/null; then
  echo "skipped: needs root and a mount namespace, for a small disk of its own"
  exit 0
fi
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir disk

cat > full.py <<'PYTHON'
import platform
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

beanstalkd = sys.argv[1]
version = subprocess.run([beanstalkd, "-v"], capture_output=True, text=True, check=True).stdout.strip()
print(version, platform.system(), platform.release())
with socket.create_server(("127.0.0.1", 0)) as unused:
    port = str(unused.getsockname()[1])


class Server:
    def __init__(self) -> None:
        options = ["-l", "127.0.0.1", "-p", port, "-b", "disk", "-s", "100000"]
        with open("log", "w") as log:
            self.process = subprocess.Popen([beanstalkd, *options], stderr=log)
        self.stream = None
        while self.process.poll() is None and not self.stream:
            try:
                self.stream = socket.create_connection(("127.0.0.1", int(port))).makefile("rwb")
            except ConnectionRefusedError:
                threading.Event().wait(0.05)

    def call(self, line: str, body: bytes = b"") -> list[str]:
        self.stream.write(line.encode() + b"\r\n" + (body + b"\r\n" if body else b""))
        self.stream.flush()
        words = self.stream.readline().decode().split()
        if words[0] == "RESERVED":
            self.stream.read(int(words[2]) + 2)
        return words

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def consume(server: Server) -> str:
    return server.call("delete " + server.call("reserve-with-timeout 0")[1])[0]


server = Server()
accepted = 0
while (answer := server.call("put 0 0 60 2000", b"x" * 2000))[0] == "INSERTED":
    accepted += 1
print(f"put {accepted > 200 and 'hundreds of'} jobs, then: {answer[0]}; a consumer of this server: {consume(server)}")
running = answer[0], consume(server)
server.stop()
server = Server()
started = server.stream is not None
server.stop()
said = Path("log").read_text().replace(f"{beanstalkd}: ", "").splitlines()
print("restarted:", "runs" if started else f"exit code {server.process.returncode}; it said:", *said)
subprocess.run(["mount", "-o", "remount,size=800k", "disk"], check=True)
server = Server()
with_room = consume(server)
print(f"with 200 KiB more room: a consumer gets {with_room}")
server.stop()
if (running, started, with_room) != (("OUT_OF_MEMORY", "DELETED"), False, "DELETED") or accepted < 200:
    sys.exit("this has changed")
PYTHON
cat > boot.sh <<'BOOT'
mount -t tmpfs -o size=600k tmpfs disk
exec "$@"
BOOT
unshare --mount sh -e boot.sh "$python" full.py "$beanstalkd"
