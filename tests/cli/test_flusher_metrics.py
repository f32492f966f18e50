"""``lotus-durable flusher --metrics``: what a scraper gets, and what a person who types it wrong."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

from lotus_durable.cli import entry

from .conftest import CommandLine, Track, wait_until
from .conftest import Start as StartService

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def scrape(address: str, accept: str = "*/*") -> tuple[str, str]:
    """Return the content type and the text."""
    with urlopen(Request(f"http://{address}/metrics", headers={"Accept": accept}), timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_it_serves_the_queues_metrics_with_their_content_type_until_it_ends(
    command_line: CommandLine, start: StartService, track: Track
) -> None:
    track(3)
    service = start("--metrics", "127.0.0.1:0")
    service.wait_to_flush()
    [address] = re.findall(r"metrics are served at http://(127.0.0.1:\d+)/metrics", service.log.read_text())
    label = f'{{queue_dir="{command_line.queue_dir}"}}'
    wait_until(lambda: f"events_delivered_total{label} 3.0" in scrape(address)[1], "the events to be delivered")
    assert scrape(address)[0].startswith("text/plain; version=")
    assert "process_resident_memory_bytes " in scrape(address)[1]
    assert scrape(address, OPEN_METRICS)[0].startswith(OPEN_METRICS)
    standby = start("--metrics", "localhost:0")
    standby.wait_to_log("this one stands by")
    [other] = re.findall(r"http://(localhost:\d+)/metrics", standby.log.read_text())
    assert f"events_delivered_total{label} 3.0" in scrape(other)[1]
    standby.end()
    service.end()
    with pytest.raises(OSError, match="refused"):
        scrape(address)


@pytest.mark.parametrize("text", ["9464", ":9464", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536"])
def test_what_is_no_address_and_port_is_wrong_usage(command_line: CommandLine, text: str) -> None:
    result = command_line.run("flusher", "--metrics", text)
    assert result.code == 2
    assert f"an address and a port are needed, such as 127.0.0.1:9464 (it is '{text}')" in result.one_error()


@pytest.mark.parametrize("command", ["flusher", "relay"])
def test_an_address_of_ip_version_6_is_written_in_brackets(command: str) -> None:
    assert entry.parser().parse_args([command, "--metrics", "[::1]:9464"]).metrics == ("::1", 9464)


def test_an_address_that_is_taken_is_said_before_it_flushes(command_line: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = command_line.run_process("flusher", "--metrics", address)
    assert result.code == 2
    assert f"lotus-durable flusher: --metrics {address}: Address already in use" in result.errors
    assert "flushes the queue" not in result.errors


def test_without_prometheus_client_it_says_what_to_install(command_line: CommandLine, queue_dir: object) -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; from lotus_durable.cli import main; sys.exit(main())"
    program = [sys.executable, "-c", code, "flusher", "--queue-dir", str(queue_dir), "--metrics", "127.0.0.1:0"]
    result = subprocess.run(
        program, env=command_line.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 2
    assert "--metrics needs prometheus_client: pip install 'lotus-durable[prometheus]'" in result.stderr
