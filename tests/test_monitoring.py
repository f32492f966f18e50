"""The examples for Prometheus and Grafana: alerts fire when they should, and what they ask for exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from lotus_durable.operate.metrics import STATES, QueueCollector

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "monitoring.md"
MONITORING = DOCS / "examples" / "monitoring"
RULES = MONITORING / "lotus-durable.rules.yml"
DASHBOARD = MONITORING / "grafana-dashboard.json"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (apt-get install prometheus)"
)
LABELS = '{job="lotus-durable", instance="web-1", queue_dir="/var/lib/app/lotus"}'
HEALTHY = {
    "queue_readable": 1, "events_pending": 0, "events_parked": 0, "events_parked_for_future": 0,
    "events_dead_lettered": 0, "events_in_memory": 0, "oldest_pending_age_seconds": 0, "queue_used_bytes": 1e6,
    "queue_limit_bytes": 1e9, "disk_left_bytes": 1e10, "disk_left_files": 1e6, "quarantine_files": 0,
    "flusher_start_failed": 0,
}  # fmt: skip
ALERTS: dict[str, dict[str, float | str]] = {
    "LotusDeliveryBlocked": {"state": "blocked", "events_pending": 5},
    "LotusNothingDelivered": {"state": "retrying", "events_pending": 5, "oldest_pending_age_seconds": 400},
    "LotusNobodyFlushes": {"state": "absent", "events_pending": 5},
    "LotusFlusherDoesNotStart": {"flusher_start_failed": 1},
    "LotusFlusherHangs": {"state": "hung"},
    "LotusEventsTooOldSoon": {"oldest_pending_age_seconds": 26 * 86_400, "events_pending": 5},
    "LotusQueueNearlyFull": {"queue_used_bytes": 9e8},
    "LotusDiskNearlyFull": {"disk_left_bytes": 1e6},
    "LotusEventsInMemory": {"events_in_memory": 3},
    "LotusDeadLetters": {"events_dead_lettered": 3},
    "LotusEventsStayParked": {"events_parked": 3},
    "LotusEventsParkedForTheFuture": {"events_parked_for_future": 3},
    "LotusQueueDamaged": {"quarantine_files": 1},
    "LotusQueueUnreadable": {"queue_readable": 0},
}
"""Of each alert: what is then otherwise than in a healthy queue."""
ALSO = {"LotusEventsTooOldSoon": {"LotusNothingDelivered"}}
"""What fires with it."""
AT = 180
"""Minutes, after which all that should have fired has."""
STEP = 5


def metrics() -> dict[str, str]:
    """Return the names of all samples, and what kind each is."""
    suffixes = {"counter": "_total", "info": "_info"}
    return {family.name + suffixes.get(family.type, ""): family.type for family in QueueCollector().describe()}


def used(text: str) -> set[str]:
    return set(re.findall(r"lotus_durable_\w+", text))


def series(changes: dict[str, float | str]) -> list[dict[str, str]]:
    values = {**HEALTHY, **changes}
    now = values.pop("state", "idle")
    shown = [
        {"series": f"lotus_durable_{name}{LABELS}", "values": f"{value}x{AT // STEP}"} for name, value in values.items()
    ]
    for state in STATES:
        labels = LABELS.replace("}", f', state="{state}"}}')
        shown.append({"series": f"lotus_durable_flusher_state{labels}", "values": f"{int(state == now)}x{AT // STEP}"})
    return shown


def firing(names: set[str]) -> dict[str, Any]:
    return {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{AT}m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
    }


@needs_promtool
def test_each_alert_fires_for_what_it_is_about_and_no_other_and_none_for_a_healthy_queue(tmp_path: Path) -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == list(ALERTS)
    cases: list[tuple[dict[str, float | str], set[str]]] = [({}, set())]
    cases += [(changes, {name} | ALSO.get(name, set())) for name, changes in ALERTS.items()]
    tests = [
        {"interval": f"{STEP}m", "input_series": series(changes), "promql_expr_test": [firing(names)]}
        for changes, names in cases
    ]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": f"{STEP}m", "tests": tests}))
    promtool("test", "rules", str(file))


@needs_promtool
def test_an_alert_says_in_words_what_it_is_and_what_to_type(tmp_path: Path) -> None:
    labels = {"severity": "warning", "job": "lotus-durable", "instance": "web-1", "queue_dir": "/var/lib/app/lotus"}
    said = {
        "summary": "The oldest usage event in /var/lib/app/lotus waits for 6m 40s.",
        "description": "The server is down or slow, or nobody flushes. Everything is kept. What is wrong is in "
        "`lotus-durable status --queue-dir /var/lib/app/lotus` on web-1.",
    }
    alert = {"eval_time": "10m", "alertname": "LotusNothingDelivered", "exp_alerts": [{"exp_labels": labels}]}
    alert["exp_alerts"][0]["exp_annotations"] = said  # type: ignore[index]
    tests = [
        {"interval": f"{STEP}m", "input_series": series(ALERTS["LotusNothingDelivered"]), "alert_rule_test": [alert]},
    ]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    promtool("test", "rules", str(file))


@needs_promtool
def test_the_example_of_a_configuration_is_one_and_finds_the_rules() -> None:
    promtool("check", "config", str(MONITORING / "prometheus.yml"))


@needs_promtool
def test_every_expression_of_the_dashboard_can_be_read_by_prometheus(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_alerts_and_dashboard_ask_for_metrics_that_exist_and_the_page_has_them_all() -> None:
    names = set(metrics())
    assert used(RULES.read_text()) <= names
    assert used(DASHBOARD.read_text()) <= names
    assert used(PAGE.read_text()) == names
    assert len(expressions()) > 10
    for name, kind in metrics().items():
        assert re.search(rf"^\| `{name}` \| {kind} \| .+ \|$", PAGE.read_text(), re.MULTILINE), name


def test_every_state_and_alert_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert [each for each in (*STATES, *ALERTS) if f"`{each}`" not in text] == []


def test_the_panels_of_the_dashboard_lie_beside_each_other_and_say_what_they_show() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["description"]
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_is_what_grafana_knows() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    register_default_plugins()
    known = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))  # what it does not know is not in it
    assert list(differences(dashboard, known)) == []
    renamed = json.loads(DASHBOARD.read_text().replace('"reduceOptions"', '"reduceOption"'))
    known = json.loads(JSONEncoder().encode(Dashboard.from_json(renamed)))
    assert ".panels[0].options.reduceOption" in differences(renamed, known)


def differences(ours: Any, known: Any, place: str = "") -> Iterator[str]:
    """Give the places where ours has something that is not the same there."""
    if isinstance(ours, dict) and isinstance(known, dict):
        for name, value in ours.items():
            yield from differences(value, known.get(name, ...), f"{place}.{name}")
    elif isinstance(ours, list) and isinstance(known, list) and len(ours) == len(known):
        for index, pair in enumerate(zip(ours, known, strict=True)):
            yield from differences(*pair, f"{place}[{index}]")
    elif ours != known:
        yield place


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def promtool(*arguments: str) -> None:
    result = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
