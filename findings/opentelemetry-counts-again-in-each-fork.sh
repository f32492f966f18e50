#!/usr/bin/env bash
# What surprised: a process that is forked inherits what its parent has counted, and exports it as its own: the
#   reader's thread is started anew in the child, with the sums of before the fork. So it is with delta temporality,
#   too, where each number is thought to be reported once. Two workers and their parent report 302 calls for 102.
# Seen with: opentelemetry-sdk 1.45.2, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: what a preloaded application counts before its workers are forked is summed
#   up once for each worker, and again for each one that is replaced. Such counters are good for a graph and no basis
#   of a bill; an event has an id, by which the second one is known.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opentelemetry-sdk==1.45.2
cd "$folder"

cat > counts.py <<'PYTHON'
import os
import platform
import sys
from importlib.metadata import version

from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)

print("opentelemetry-sdk", version("opentelemetry-sdk"), "Python", platform.python_version(), end=" ")


class ToFile(MetricExporter):
    def export(self, metrics_data, timeout_millis=0, **kwargs):
        with open("exported", "a") as file:
            for resource in metrics_data.resource_metrics:
                for metric in resource.scope_metrics[0].metrics:
                    file.write(f"{metric.data.data_points[0].value}\n")
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=0):
        return True

    def shutdown(self, timeout_millis=0, **kwargs):
        pass


temporality = AggregationTemporality[sys.argv[1]]
reader = PeriodicExportingMetricReader(ToFile(preferred_temporality={Counter: temporality}), 600_000)
provider = MeterProvider([reader], shutdown_on_exit=False)
calls = provider.get_meter("example").create_counter("calls")
calls.add(100)
for _ in range(2):
    if (worker := os.fork()) == 0:
        calls.add(1)
        provider.force_flush()
        os._exit(0)
    os.waitpid(worker, 0)
provider.force_flush()
with open("exported") as file:
    exported = list(map(int, file))
os.remove("exported")
print(f"{temporality.name}: 100 calls before the forks, 1 in each of two; exported: {exported}, sum {sum(exported)}")
if exported != [101, 101, 100]:
    sys.exit("this has changed")
PYTHON
venv/bin/python counts.py CUMULATIVE
venv/bin/python counts.py DELTA
