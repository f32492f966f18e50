"""The examples for service managers and containers: they are well formed, and what they run exists as they say it."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lotus_durable.cli import entry
from lotus_durable.cli.command import WrongUsage
from lotus_durable.cli.env_file import VARIABLE
from lotus_durable.config import Config, environment_options

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLES = DOCS / "examples"
PAGE = (DOCS / "deploying.md").read_text()
UNIT = EXAMPLES / "lotus-durable-flusher.service"
INSTALLED = "/opt/app/venv/bin/lotus-durable"
KUBERNETES = sorted(EXAMPLES.glob("kubernetes-*.yaml"))
LONGEST_REQUEST = 65
"""Seconds that a request may take with the default timeouts: to connect, to send, to get the answer."""
EXIT_TIMEOUT = Config.resolve(environ={}).exit_timeout
"""Seconds for which a flusher sends what is left when it is told to end."""


def check_command(words: list[str]) -> Any:
    """Read a command line as the program does; return its arguments."""
    try:
        return entry.parser().parse_args(words)
    except WrongUsage:
        pytest.fail(f"there is no such command: lotus-durable {' '.join(words)}")


def nodes(tree: object) -> Iterator[Any]:
    yield tree
    for each in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(each)


def commands(tree: object) -> list[list[str]]:
    """Return the arguments of every command of ours in a YAML document."""
    lists = [node for node in nodes(tree) if isinstance(node, list) and "lotus-durable" in node]
    return [[str(word) for word in words[words.index("lotus-durable") + 1 :]] for words in lists]


def check_variables(names: set[str]) -> None:
    assert names <= environment_options() | {VARIABLE}


def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser


def test_the_page_names_every_example_and_no_other() -> None:
    assert set(re.findall(r"\(examples/([^)]+)\)", PAGE)) == {
        path.name for path in EXAMPLES.iterdir() if path.is_file()
    }


def test_the_commands_of_the_page_exist() -> None:
    lines = [
        line for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()
    ]
    ours = [shlex.split(line)[1:] for line in lines if line.startswith("lotus-durable ")]
    assert len(ours) >= 3
    for words in ours:
        check_command(words)


def test_the_unit_s_command_and_variables_exist() -> None:
    service = unit()["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == INSTALLED
    assert check_command(words).command.name == "flusher"
    check_variables({service["Environment"].partition("=")[0]})
    assert int(service["TimeoutStopSec"]) > LONGEST_REQUEST + EXIT_TIMEOUT
    assert service["Environment"].endswith(f"/{service['StateDirectory']}")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, sys.executable))
    result = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_supervisord_s_command_and_variables_exist() -> None:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read(EXAMPLES / "supervisord.conf")
    [name] = parser.sections()
    program, *words = shlex.split(parser[name]["command"])
    assert (name, program) == ("program:lotus-flusher", INSTALLED)
    assert check_command(words).command.name == "flusher"
    check_variables({parser[name]["environment"].partition("=")[0]})
    assert int(parser[name]["stopwaitsecs"]) > LONGEST_REQUEST + EXIT_TIMEOUT


def test_compose_s_services_share_a_queue_and_their_commands_exist() -> None:
    compose = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())
    web, flusher = compose["services"]["web"], compose["services"]["flusher"]
    assert web["environment"]["LOTUS_QUEUE_DIR"] == flusher["environment"]["LOTUS_QUEUE_DIR"]
    assert web["volumes"] == flusher["volumes"] == [f"lotus-queue:{web['environment']['LOTUS_QUEUE_DIR']}"]
    assert set(compose["volumes"]) == {"lotus-queue"}
    assert set(flusher["secrets"]) == set(compose["secrets"])
    assert flusher["environment"]["LOTUS_API_KEY_FILE"] == f"/run/secrets/{flusher['secrets'][0]}"
    for service in (web, flusher):
        check_variables(set(service["environment"]))
    assert int(flusher["stop_grace_period"].removesuffix("s")) > LONGEST_REQUEST + EXIT_TIMEOUT
    assert len(commands(compose)) == 2
    for words in commands(compose):
        check_command(words)


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_a_manifest_s_containers_share_a_queue_as_one_user_and_their_commands_exist(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    template = manifest["spec"]["template"]
    assert manifest["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    pod = template["spec"]
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])}
    users, queues = set(), set()
    for container in containers:
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) <= volumes
        variables = {variable["name"]: variable["value"] for variable in container.get("env", [])}
        check_variables(set(variables))
        if "LOTUS_QUEUE_DIR" in variables:
            queues.add(variables["LOTUS_QUEUE_DIR"])
            users.add({**pod.get("securityContext", {}), **container.get("securityContext", {})}["runAsUser"])
            assert variables["LOTUS_QUEUE_DIR"].startswith(f"{mounts['lotus']}/"), "not the volume itself: see fsGroup"
        if "LOTUS_API_KEY_FILE" in variables:
            assert variables["LOTUS_API_KEY_FILE"].startswith(f"{mounts['lotus-key']}/")
        if container["name"] == "flusher":
            assert variables["LOTUS_FLUSHER"] == "external", "or its probe is content with a queue that nobody flushes"
            sends_for = float(variables.get("LOTUS_EXIT_TIMEOUT", EXIT_TIMEOUT))
    assert len(queues) == len(users) == 1
    ours = [check_command(words) for words in commands(manifest)]
    assert {each.command.name for each in ours} >= {"flusher", "health"}
    drains_for = sum(getattr(each, "timeout", None) or 0 for each in ours)
    assert pod["terminationGracePeriodSeconds"] > LONGEST_REQUEST + sends_for + drains_for
