#!/usr/bin/env bash
# What surprised: BatchSpanProcessor.force_flush(timeout_millis=100) takes as long as the exporter takes (here 3 seconds)
#   and then returns True, the answer that stands for "everything was exported in time", although the exporter answered
#   FAILURE for every batch. What failed is not tried again and not kept.
# Seen with: opentelemetry-sdk 1.45.2, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: people bring this habit along, "force_flush() was True, so we may exit". For
#   events that are billed, a flush has to say what is left, and has to keep its own deadline.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opentelemetry-sdk==1.45.2
cd "$folder"

cat > flush.py <<'PYTHON'
import platform
import sys
import time
from importlib.metadata import version

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

print("opentelemetry-sdk", version("opentelemetry-sdk"), "Python", platform.python_version())


class ServerIsDown(SpanExporter):
    def __init__(self) -> None:
        self.refused: list[str] = []

    def export(self, spans):
        time.sleep(1)
        self.refused += [span.name for span in spans]
        return SpanExportResult.FAILURE

    def shutdown(self):
        pass


exporter = ServerIsDown()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=10, max_queue_size=100))
tracer = provider.get_tracer("events")
for number in range(25):
    tracer.start_span(f"event {number}").end()
answers, times = [], []
for _ in range(2):
    start = time.monotonic()
    answers.append(provider.force_flush(timeout_millis=100))
    times.append(time.monotonic() - start)
print(f"force_flush(timeout_millis=100): {answers[0]} after {times[0]:.1f} s, again: {answers[1]} after {times[1]:.1f} s")
print("spans that the exporter refused:", len(exporter.refused), "of them refused twice:", 25 - len(set(exporter.refused)))
if answers != [True, True] or times[0] < 1 or times[1] > 0.5 or sorted(set(exporter.refused)) != sorted(exporter.refused):
    sys.exit("this has changed")
PYTHON
venv/bin/python flush.py
