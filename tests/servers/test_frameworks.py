"""docs/quickstart.md: each example is run as it stands there, and its event arrives."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.flusher.seen import state_of
from tests.ports import free_port
from tests.waiting import wait_until

from .running import Running
from .site import REPOSITORY, Site
from .task_queues import redis_server, start_redis

pytestmark = pytest.mark.servers
PAGE = (REPOSITORY / "docs" / "quickstart.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
WEB = {"Flask": "--port={}", "FastAPI": "--port={}", "Django": "127.0.0.1:{}"}
"""How the command of each is told its port."""
TASKS = {"Celery": "celery", "rq": "rq", "huey": "huey", "dramatiq": "dramatiq"}
ALONE = {"cron", "AWS Lambda", "Jupyter"}
CUSTOMER = "customer123"


class Example:
    """A section's files, laid out in the scratch folder, where its commands are run."""

    def __init__(self, section: str, site: Site) -> None:
        self.site = site
        self.files = dict(re.findall(r'```(?:python|text) title="(.+?)"\n(.*?)```', SECTIONS[section], flags=re.DOTALL))
        self.commands = [
            line for block in re.findall(r"```console\n(.*?)```", SECTIONS[section], flags=re.DOTALL)
            for line in block.splitlines()
        ]  # fmt: skip
        for name, content in self.files.items():
            (site.scratch / name).write_text(content)
        site.variables["TEST_FOLDER"] = str(site.scratch)
        site.variables["PYTHONPATH"] = f"{REPOSITORY}:{site.scratch}"

    def start(self, *more: str, port: int = 0) -> Running:
        [command] = self.commands
        return self.site.run([*shlex.split(command), *more], port=port)

    def arrived(self, count: int = 1) -> None:
        lotus = self.site.lotus
        lotus.wait_until(lambda: lotus.event_count >= count, 15, what=f"{count} events")
        assert {event["customer_id"] for event in lotus.events} == {CUSTOMER}
        assert lotus.event_count == count


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def test_every_section_is_run() -> None:
    assert set(SECTIONS) == WEB.keys() | TASKS.keys() | ALONE


@pytest.mark.parametrize("section", WEB)
def test_the_event_of_a_request_arrives(section: str, site: Site) -> None:
    needs(section.lower())
    port = free_port()
    server = Example(section, site)
    running = server.start(WEB[section].format(port), port=port)

    def answered() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/orders/{CUSTOMER}", timeout=10) as answer:
                return b'"ok"' in answer.read()
        except OSError:
            return False

    wait_until(answered, "it answers")
    running.stop(signal.SIGINT, all_at_once=True)
    server.arrived()


@pytest.mark.parametrize("section", TASKS)
def test_the_event_of_a_task_arrives(section: str, site: Site) -> None:
    needs(TASKS[section])
    if section != "huey":
        if not redis_server():
            pytest.skip("redis-server is not installed")
        site.variables["REDIS_URL"] = site.variables["CELERY_BROKER_URL"] = start_redis(site)
    example = Example(section, site)
    example.start()
    assert site.run([sys.executable, "enqueue.py"]).wait_until_ended() == 0
    example.arrived()


def test_the_event_of_a_cron_job_arrives_with_the_environment_of_its_crontab_alone(site: Site) -> None:
    example = Example("cron", site)
    (site.scratch / "key").write_text(site.lotus.api_key)
    table = example.files["crontab"].replace("/etc/app/lotus-key", str(site.scratch / "key"))
    table = table.replace("/var/lib/app/lotus", str(site.queue_dir)).replace("/opt/app/venv/bin/python", sys.executable)
    *settings, line = table.replace("/opt/app/", f"{site.scratch}/").splitlines()
    settings += [f"LOTUS_HOST={site.lotus.host}", f"PYTHONPATH={REPOSITORY}"]
    job = ["env", "-i", "PATH=/usr/bin:/bin", "SHELL=/bin/sh", *settings, "/bin/sh", "-c", line.split(maxsplit=5)[5]]
    assert site.run(job).wait_until_ended() == 0
    example.arrived()


RUNTIME = """
import sys, time
from function import handler
for line in sys.stdin:
    print(handler({"customer_id": line.strip()}, None)["statusCode"], flush=True)
"""


def test_a_lambda_function_that_is_frozen_between_calls_and_killed_at_last_has_sent_everything(site: Site) -> None:
    site.variables["LOTUS_FLUSHER"] = "external"
    example = Example("AWS Lambda", site)
    (site.scratch / "runtime.py").write_text(RUNTIME)
    fifo, answers = site.scratch / "calls", site.scratch / "answers"
    os.mkfifo(fifo)
    answers.touch()
    runtime = site.run(["sh", "-c", f"exec {sys.executable} runtime.py <{fifo} >{answers}"])
    served = 0
    with fifo.open("w", buffering=1) as calls:

        def call() -> None:
            nonlocal served
            os.kill(runtime.pid, signal.SIGCONT)
            calls.write(f"{CUSTOMER}\n")
            served += 1
            wait_until(lambda: answers.read_text().split() == ["200"] * served, "the function has answered")
            os.kill(runtime.pid, signal.SIGSTOP)
            wait_until(lambda: state_of(runtime.pid) == "T", "it is frozen")

        for _ in range(3):
            call()
            example.arrived(served)
            assert site.flushers() == set()
        site.lotus.pause()
        call()
        site.lotus.resume()
        call()  # the next one that the environment serves sends what the last one could not
        example.arrived(served)
        runtime.crash()
    assert Path(site.directory.heartbeat).exists()


def test_the_event_of_a_notebook_whose_kernel_is_killed_arrives(site: Site) -> None:
    needs("nbclient")
    needs("ipykernel")
    example = Example("Jupyter", site)
    (site.scratch / "run.py").write_text(
        """
import os, signal
import nbformat
from nbclient import NotebookClient
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(open("cell").read())])
client = NotebookClient(notebook)
with client.setup_kernel():
    client.execute_cell(notebook.cells[0], 0)
    os.kill(client.km.provisioner.pid, signal.SIGKILL)
"""
    )
    assert site.run([sys.executable, "run.py"]).wait_until_ended() == 0
    example.arrived()
