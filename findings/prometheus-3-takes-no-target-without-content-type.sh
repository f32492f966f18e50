#!/usr/bin/env bash
# What surprised: since version 3 Prometheus holds a target down that sends no Content-Type, or that of a page
#   (text/html, application/json), though the metrics in its answer are right. Version 2 takes all of them.
# Seen with: Prometheus 3.5.3 (Debian sid) and 2.42.0 (Debian 12), on 2026-11-29.
# Why it matters to a durable event queue: Django's HttpResponse and most frameworks' answers are text/html unless told
#   otherwise. An upgrade of Prometheus then takes away the metrics that would have said that nothing is delivered.
set -euo pipefail
program=${PROMETHEUS:-prometheus}
if ! "$program" --version 2>/dev/null | grep -q '^prometheus, version [3-9]'; then
  echo "skipped: needs Prometheus 3 or later (Debian sid has it); name one in PROMETHEUS"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/scrape.py" <<'PYTHON'
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.request

TYPES = {"none": None, "html": "text/html; charset=utf-8", "json": "application/json", "text": "text/plain; version=1.0.0"}


def serve(content_type):
    class Target(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if content_type is not None:
                self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(b"# TYPE a gauge\na 1\n")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"


program, folder = sys.argv[1:]
jobs = [{"job_name": name, "static_configs": [{"targets": [serve(kind)]}]} for name, kind in TYPES.items()]
with open(f"{folder}/prometheus.yml", "w") as file:
    json.dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}, file)  # JSON is YAML
with http.server.HTTPServer(("127.0.0.1", 0), None) as taken:
    port = taken.server_port
arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
prometheus = subprocess.Popen(
    [program, *arguments, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL
)
ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
try:
    for _ in range(120):
        time.sleep(0.5)
        try:
            targets = json.load(ask(f"http://127.0.0.1:{port}/api/v1/targets"))["data"]["activeTargets"]
        except OSError:
            continue
        if len(targets) == len(jobs) and all(target["health"] != "unknown" for target in targets):
            break
    for target in sorted(targets, key=lambda target: target["labels"]["job"]):
        print(target["labels"]["job"], target["health"], target["lastError"])
finally:
    prometheus.terminate()
    prometheus.wait()
PYTHON
python=${PYTHON:-python3}
"$program" --version | head -n 1
"$python" "$folder/scrape.py" "$program" "$folder" | tee "$folder/output"
grep -q '^none down .*blank Content-Type' "$folder/output" &&
  grep -q '^html down .*unsupported Content-Type' "$folder/output" &&
  grep -q '^json down ' "$folder/output" &&
  grep -q '^text up' "$folder/output" || { echo "this has changed"; exit 1; }
