"""Making one call, and looking at the one request that came of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lotus_durable.client import Client
from tests.delivery.scripted_server import Received, ScriptedServer, says

from .conftest import Connect

DAY = datetime(2024, 2, 19, 10, 30, tzinfo=UTC)
SUBSCRIPTIONS = "/api/subscriptions/"


def sent(connect: Connect, version: str, name: str, arguments: dict[str, Any]) -> Received:
    """Make one call to a server that takes anything, and return the one request it got."""
    is_list = name.startswith("list_") or name in ("get_customer_metric_access", "get_customer_feature_access")
    access_by_name = (
        name == "get_customer_access" and version == "2024" and not set(arguments) & {"metric_id", "feature_id"}
    )
    reply = b"[]" if is_list or access_by_name else b'{"access": true}'
    with ScriptedServer(says(200, reply)) as server:
        client: Client = connect(server, api_version=version)
        getattr(client, name)(**arguments)
        client.release()
    (request,) = server.requests
    return request
