"""Tracking when the transaction commits: what is rolled back is not billed."""

from __future__ import annotations

from typing import Unpack

from django.db import transaction

from lotus_durable.client import Client
from lotus_durable.contrib.transactions import Arguments, CheckedEvent
from lotus_durable.errors import ConfigurationError


def track_on_commit(*, using: str | None = None, client: Client | None = None, **arguments: Unpack[Arguments]) -> str:
    """Track one event when the outermost transaction commits; at once where there is none.

    It is checked now, and its id and its time are fixed now. A rollback drops it, of the transaction or of the
    savepoint (the inner ``atomic()``) that it was tracked in. A process that is killed between the commit and the
    callback drops it too: where that is too much, see the outbox in docs/transactions.md.

    Args:
        using: the database whose transaction it is; the default one if not given.
        client: the default client if not given.
        arguments: as for ``track_event``.

    Returns:
        The idempotency id.

    Raises:
        InvalidEvent: an argument is refused.
        ConfigurationError: autocommit is off, so Django would forget it; or a setting is wrong.
    """
    connection = transaction.get_connection(using)
    if not (connection.commit_on_exit if connection.in_atomic_block else connection.get_autocommit()):
        raise ConfigurationError(
            f"database {connection.alias}: with autocommit off Django runs no on_commit callback at commit(); "
            "call track_event after commit()"
        )
    event = CheckedEvent(client, arguments)
    # robust: what goes wrong in it must neither fail a request that is committed nor skip the callbacks after it.
    transaction.on_commit(event, using=using, robust=True)
    return event.idempotency_id
