"""A real Prometheus scrapes the queue's metrics: from any worker of a server with several, and from the service."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.ports import free_port
from tests.test_monitoring import MONITORING, needs_promtool
from tests.waiting import wait_until

from .kinds import gunicorn
from .running import Running
from .site import Site

APPLICATION = "tests.servers.apps.metrics"

pytestmark = [
    needs_promtool,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (apt-get install prometheus)"),
]


def get(url: str) -> tuple[str | None, str]:
    """Return the process that answered, as it says, and the text."""
    with urlopen(url, timeout=30) as answer:
        return answer.headers["X-Process"], answer.read().decode()


def of_the_queue(text: str) -> set[str]:
    """Return the samples that no clock changes."""
    changing = ("age_seconds", "timestamp_seconds", "disk_left")
    return {
        line for line in text.splitlines() if line.startswith("lotus_durable_") and not any(c in line for c in changing)
    }


class Prometheus:
    """One that scrapes these ports each second."""

    def __init__(self, site: Site, **jobs: int) -> None:
        folder = site.root / "prometheus"
        folder.mkdir()
        targets = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()
        ]
        shutil.copy(MONITORING / "lotus-durable.rules.yml", folder)
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": targets,
            "rule_files": ["lotus-durable.rules.yml"],
        }
        (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
        port = free_port()
        self._api = f"http://127.0.0.1:{port}/api/v1"
        self.running: Running = site.run(
            [
                "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            prefix=(),
        )  # fmt: skip

    def ask(self, path: str, **query: str) -> Any:
        """Return what it answers; None while it does not."""
        try:
            return json.loads(get(f"{self._api}/{path}?{urlencode(query)}")[1])["data"]
        except OSError:
            return None

    def values(self, expression: str) -> dict[str, float]:
        """Return the value of an expression for each job."""
        found = self.ask("query", query=expression) or {"result": []}
        return {each["metric"]["job"]: float(each["value"][1]) for each in found["result"]}


def test_prometheus_scrapes_any_worker_and_the_service_and_all_answer_the_same(site: Site) -> None:
    (site.root / "multiprocess").mkdir()
    site.variables |= {"PROMETHEUS_MULTIPROC_DIR": str(site.root / "multiprocess"), "LOTUS_FLUSHER": "external"}
    server = gunicorn("sync", application=APPLICATION).start(site)
    server.track(7)
    service_port = free_port()
    service = site.run(
        [sys.executable, "-m", "lotus_durable", "flusher", "--metrics", f"127.0.0.1:{service_port}"], port=service_port
    )
    prometheus = Prometheus(site, shop=server.port, service=service_port)
    everywhere = {"shop": 7.0, "service": 7.0}
    delivered = "lotus_durable_events_delivered_total"
    wait_until(lambda: prometheus.values(delivered) == everywhere, "Prometheus has seen that all was delivered", 60.0)
    assert prometheus.values("up") == {"shop": 1.0, "service": 1.0}
    assert prometheus.values('lotus_durable_flusher_state{state="idle"}') == {"shop": 1.0, "service": 1.0}
    assert prometheus.values("shop_requests_total")["shop"] >= 1
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert [rule["lastError"] for rule in rules if "lastError" in rule] == []
    metadata = prometheus.ask("metadata", metric="lotus_durable_events_pending")
    assert metadata["lotus_durable_events_pending"][0]["type"] == "gauge"

    answers: dict[str | None, str] = {}

    def all_have_answered() -> bool:
        process, text = get(f"http://127.0.0.1:{server.port}/metrics")
        answers[process] = text
        return len(answers) == 2

    wait_until(all_have_answered, "both workers have answered")
    answers["service"] = get(f"http://127.0.0.1:{service_port}/metrics")[1]
    assert len({frozenset(of_the_queue(text)) for text in answers.values()}) == 1
    check_format(answers.values())
    service.stop()
    prometheus.running.stop()


def check_format(texts: Any) -> None:
    for text in texts:
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
