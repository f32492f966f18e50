"""An application as people write them: what it does at import is real."""

from __future__ import annotations

import os

import lotus_durable as lotus

REAL_HOST, REAL_QUEUE = os.environ["REAL_HOST"], os.environ["REAL_QUEUE"]

lotus.api_key = "real-key"
lotus.host = REAL_HOST
lotus.queue_dir = REAL_QUEUE
client = lotus.Client(api_key="real-key", host=REAL_HOST, queue_dir=REAL_QUEUE)
client.track_event(customer_id="of the import", event_name="x")


def handle(customer_id: str) -> str:
    return lotus.track_event(customer_id=customer_id, event_name="handled")


def handle_by_client(customer_id: str) -> str:
    return client.track_event(customer_id=customer_id, event_name="handled by client")


def sign_up(customer_id: str) -> None:
    lotus.create_customer(customer_id=customer_id, name="A name", email=f"{customer_id}@example.com")
