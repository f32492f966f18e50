"""Django: options from the project's settings, ``manage.py lotus_drain``, a check, on_commit, pages of the admin.

::

    INSTALLED_APPS = [..., "lotus_durable.contrib.django"]
    LOTUS = {"API_KEY": "YOUR API KEY", "QUEUE_DIR": BASE_DIR / "lotus"}

An option may also be a setting of its own (``LOTUS_API_KEY``); in ``LOTUS`` it wins. Both win over the environment.
Names are those of :class:`lotus_durable.config.Config`, in upper or lower case; ``ON_ERROR`` may be a dotted path.

:func:`track_on_commit` works with and without the application.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from lotus_durable.client import Client
from lotus_durable.contrib.transactions import CheckedEvent
from lotus_durable.errors import ConfigurationError

__all__ = ["track_on_commit"]


def track_on_commit(
    *,
    customer_id: str,
    event_name: str,
    properties: Mapping[str, object] | None = None,
    time_created: datetime | str | None = None,
    idempotency_id: str | None = None,
    using: str | None = None,
    client: Client | None = None,
) -> str:
    """Track one event when the outermost transaction commits; at once where there is none.

    It is checked now, and its id and its time are fixed now. A rollback drops it, of the transaction or of the
    savepoint (the inner ``atomic()``) that it was tracked in. A process that is killed between the commit and the
    callback drops it too: where that is too much, see the outbox in docs/transactions.md.

    Args:
        customer_id: as for ``track_event``.
        event_name: as for ``track_event``.
        properties: as for ``track_event``.
        time_created: as for ``track_event``.
        idempotency_id: as for ``track_event``.
        using: the database whose transaction it is; the default one if not given.
        client: the default client if not given.

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
    event = CheckedEvent(
        client,
        customer_id=customer_id,
        event_name=event_name,
        properties=properties,
        time_created=time_created,
        idempotency_id=idempotency_id,
    )
    # robust: what goes wrong in it must neither fail a request that is committed nor skip the callbacks after it.
    transaction.on_commit(event, using=using, robust=True)
    return event.idempotency_id
