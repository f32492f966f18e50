"""The examples of fleets: by the schemas that there are, and they say what we say.

The schemas of Kubernetes and of compose are packages; those of RabbitMQ's operators are not, and neither is any of this
run here.
"""

from __future__ import annotations

import re
from typing import Any

import compose_pydantic
import kubernetes_validate
import pytest
import yaml

from lotus_durable.relay.address import address_of
from tests.test_deploying import (
    EXAMPLES,
    EXIT_TIMEOUT,
    LONGEST_REQUEST,
    PAGE,
    check_command,
    check_variables,
    commands,
    nodes,
)

KUBERNETES = list(yaml.safe_load_all((EXAMPLES / "fleet-kubernetes.yaml").read_text()))
COMPOSE = yaml.safe_load((EXAMPLES / "fleet-compose.yaml").read_text())
OF_OPERATORS = ("rabbitmq.com/v1beta1",)
NOT_OURS = {"BROKER_USER", "BROKER_PASSWORD"}
_VERSION = "1.29"
"""The first one with sidecars that are on by default."""


def manifest(kind: str) -> Any:
    return next(each for each in KUBERNETES if each["kind"] == kind)


@pytest.mark.parametrize("document", KUBERNETES, ids=lambda each: each["kind"])
def test_a_manifest_is_as_kubernetes_has_it(document: Any) -> None:
    if document["apiVersion"] in OF_OPERATORS:
        assert document["kind"] in ("RabbitmqCluster", "Policy")
        assert document["metadata"]["name"] == manifest("RabbitmqCluster")["metadata"]["name"]
    else:
        kubernetes_validate.validate(document, _VERSION, strict=True)


def test_the_compose_file_is_as_compose_has_it() -> None:
    compose_pydantic.ComposeSpecification.model_validate(COMPOSE)


def test_their_commands_and_variables_exist() -> None:
    ours = [check_command(words).command.name for words in commands([KUBERNETES, COMPOSE])]
    assert sorted(set(ours)) == ["flusher", "health", "relay"]
    for tree in nodes(KUBERNETES):
        if isinstance(tree, dict) and isinstance(tree.get("env"), list):
            check_variables({each["name"] for each in tree["env"]} - NOT_OURS)
    for name in ("web", "relay-1", "relay-2"):
        check_variables(set(COMPOSE["services"][name]["environment"]))


def test_hosts_and_relays_of_kubernetes_name_all_nodes_of_the_cluster() -> None:
    cluster = manifest("RabbitmqCluster")
    urls = {
        each["value"] for each in nodes(KUBERNETES) if isinstance(each, dict) and each.get("name") == "LOTUS_RELAY_URL"
    }
    [url] = urls
    name, replicas = cluster["metadata"]["name"], cluster["spec"]["replicas"]
    address = address_of(re.sub(r"\$\((\w+)\)", r"\1", url))
    assert [node.host for node in address.nodes] == [f"{name}-server-{each}.{name}-nodes" for each in range(replicas)]
    assert re.match(manifest("Policy")["spec"]["pattern"], address.queue)


def test_each_relay_has_a_disk_that_stays_and_the_hosts_have_none() -> None:
    hosts, relays = manifest("Deployment")["spec"], manifest("StatefulSet")["spec"]
    assert [list(each)[1] for each in hosts["template"]["spec"]["volumes"]] == ["emptyDir"]
    assert relays["replicas"] == 2
    assert [each["metadata"]["name"] for each in relays["volumeClaimTemplates"]] == ["lotus"]
    disks = {COMPOSE["services"][name]["volumes"][0].partition(":")[0] for name in ("relay-1", "relay-2")}
    assert disks <= set(COMPOSE["volumes"])
    assert len(disks) == 2


def test_who_is_stopped_has_time_for_the_request_in_flight() -> None:
    for kind in ("Deployment", "StatefulSet"):
        pod = manifest(kind)["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] > LONGEST_REQUEST + EXIT_TIMEOUT
    assert int(COMPOSE["services"]["relay-1"]["stop_grace_period"].removesuffix("s")) > LONGEST_REQUEST + EXIT_TIMEOUT


def test_the_page_says_that_they_are_untried() -> None:
    assert "untried" in PAGE[PAGE.index("fleet-kubernetes.yaml") :]
