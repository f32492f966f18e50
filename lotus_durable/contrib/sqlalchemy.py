"""SQLAlchemy: tracking when the session's transaction commits, so that what is rolled back is not billed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from lotus_durable.client import Client
from lotus_durable.contrib.transactions import CheckedEvent
from lotus_durable.errors import ConfigurationError

if TYPE_CHECKING:  # without greenlet the second one cannot be imported
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import scoped_session

_KEY = "lotus_durable"
"""Where a session's ``info`` has what waits for its end."""


def track_on_commit(
    session: Session | scoped_session[Any] | AsyncSession | async_scoped_session[Any],
    *,
    customer_id: str,
    event_name: str,
    properties: Mapping[str, object] | None = None,
    time_created: datetime | str | None = None,
    idempotency_id: str | None = None,
    client: Client | None = None,
) -> str:
    """Track one event when the session's outermost transaction commits; it begins one where there is none.

    It is checked now, and its id and its time are fixed now. A rollback drops it, of the transaction or of the
    savepoint (``begin_nested()``) that it was tracked in, and so does closing the session. A process that is killed
    between the commit and the tracking drops it too: where that is too much, see the outbox in docs/transactions.md.

    Args:
        session: a Session, an AsyncSession, or a scoped one.
        customer_id: as for ``track_event``.
        event_name: as for ``track_event``.
        properties: as for ``track_event``.
        time_created: as for ``track_event``.
        idempotency_id: as for ``track_event``.
        client: the default client if not given.

    Returns:
        The idempotency id.

    Raises:
        InvalidEvent: an argument is refused.
        ConfigurationError: the session begins no transaction by itself, and none was begun; or a setting is wrong.
    """
    checked = CheckedEvent(
        client,
        customer_id=customer_id,
        event_name=event_name,
        properties=properties,
        time_created=time_created,
        idempotency_id=idempotency_id,
    )
    plain = _plain(session)
    transaction = plain.get_nested_transaction() or plain.get_transaction()
    if transaction is None:
        if not plain.autobegin:
            raise ConfigurationError("session: it has autobegin=False, and no transaction was begun")
        transaction = plain.begin()
    plain.info.setdefault(_KEY, _Waiting()).add(transaction, checked)
    return checked.idempotency_id


def _plain(session: object) -> Session:
    made = session() if callable(session) else session  # a scoped one gives that of this thread or task
    return cast("Session", getattr(made, "sync_session", made))


class _Waiting:
    """The events of one session that wait for its end."""

    def __init__(self) -> None:
        self._events: list[tuple[list[SessionTransaction], CheckedEvent]] = []
        self._committed: SessionTransaction | None = None

    def add(self, transaction: SessionTransaction, checked: CheckedEvent) -> None:
        """Keep an event with all whose rollback drops it, from its savepoint to the outermost transaction."""
        around = [transaction]
        while (parent := around[-1].parent) is not None:
            around.append(parent)
        self._events.append((around, checked))

    def after_commit(self, session: Session) -> None:
        savepoint = session.get_nested_transaction()
        self._committed = savepoint or session.get_transaction()
        if savepoint is None:  # else it was released, for which SQLAlchemy calls this, too
            self._track()

    def after_end(self, ended: SessionTransaction) -> None:
        """Drop what was rolled back, or closed without a commit, for which there is no event of its own."""
        if ended is self._committed:
            if ended.parent is None:
                self._track()  # what listeners that are called after ours have tracked
        elif ended.parent is None or ended.nested:  # else it was a flush
            self._events = [each for each in self._events if ended not in each[0]]

    def _track(self) -> None:
        events, self._events = self._events, []
        for _, checked in events:
            checked()


# Of all sessions, to be the first: SQLAlchemy calls no listener after one that raises, nor one of a session before
# those of all, and the transaction is committed all the same.
@event.listens_for(Session, "after_commit", insert=True)
def _after_commit(session: Session) -> None:
    if _KEY in session.info:
        session.info[_KEY].after_commit(session)


@event.listens_for(Session, "after_transaction_end", insert=True)
def _after_end(session: Session, ended: SessionTransaction) -> None:
    if _KEY in session.info:
        session.info[_KEY].after_end(ended)
