"""``contrib.sqlalchemy.track_on_commit``: what is rolled back is not billed. Real sessions on SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

import lotus_durable as lotus
from lotus_durable.client import Client
from lotus_durable.contrib.sqlalchemy import track_on_commit
from tests.rig import Rig, rig, rigs  # noqa: F401  # fixtures
from tests.scripts import environment


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


def _manual_savepoints(engine: Engine) -> Engine:
    """Have sqlite3 leave transactions to SQLAlchemy, as its pages on SQLite tell to, for savepoints to work."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = _manual_savepoints(create_engine(f"sqlite:///{tmp_path}/orders.db"))
    Base.metadata.create_all(made)
    yield made
    made.dispose()


class Tracking:
    """Tracks into a queue, and tells what is in it and in the table."""

    def __init__(self, rig: Rig, engine: Engine) -> None:  # noqa: F811
        self.rig = rig
        self.client = rig.client()
        self.engine = engine

    def track(self, session: Any, name: str, **fields: Any) -> str:
        return track_on_commit(session, customer_id="c1", event_name=name, client=self.client, **fields)

    def order(self, session: Session, number: int) -> None:
        """Write a row, and track an event of its name."""
        session.add(Order(id=number))
        self.track(session, f"order {number}")

    def delivered(self) -> list[str]:
        """Return the names of the events that are in the server's database, in the order of their arrival."""
        self.client.drain(20)
        server = self.rig.server
        return [each["event_name"] for each in server.events if each["idempotency_id"] in server.database]

    def rows(self) -> list[str]:
        with self.engine.connect() as connection:
            return [f"order {number}" for (number,) in connection.execute(text("SELECT id FROM orders ORDER BY id"))]


@pytest.fixture
def tracking(rig: Rig, engine: Engine) -> Tracking:  # noqa: F811
    return Tracking(rig, engine)


def test_an_event_is_written_when_the_transaction_commits_and_not_before(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        session.flush()
        assert tracking.client.stats().pending == 0
        session.commit()
        assert tracking.client.stats().pending == 1
    assert tracking.delivered() == tracking.rows() == ["order 1"]


def test_it_is_what_it_was_at_the_call_with_the_id_that_the_call_returned(tracking: Tracking) -> None:
    properties = {"amount": 1}
    with Session(tracking.engine) as session:
        event_id = tracking.track(session, "x", properties=properties)
        properties["amount"] = 2
        session.commit()
    assert tracking.delivered() == ["x"]
    [sent] = tracking.rig.server.events
    assert (sent["idempotency_id"], sent["properties"]) == (event_id, {"amount": 1})


def test_an_invalid_event_is_refused_at_the_call_and_begins_no_transaction(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:
        with pytest.raises(lotus.InvalidEvent, match=r"properties\.amount"):
            tracking.track(session, "x", properties={"amount": float("inf")})
        assert not session.in_transaction()


@pytest.mark.parametrize("ending", ["rollback", "close", "reset", "invalidate"])
def test_what_is_not_committed_is_dropped_and_the_session_can_be_used_again(tracking: Tracking, ending: str) -> None:
    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        session.flush()
        getattr(session, ending)()
        tracking.order(session, 2)
        session.commit()
    assert tracking.delivered() == tracking.rows() == ["order 2"]


def test_an_exception_in_a_with_block_drops_it(tracking: Tracking) -> None:
    with contextlib.suppress(KeyError), Session(tracking.engine) as session, session.begin():
        tracking.order(session, 1)
        raise KeyError
    assert tracking.delivered() == tracking.rows() == []


def test_the_rollback_of_a_savepoint_drops_what_was_tracked_in_it_and_in_savepoints_of_it(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        with contextlib.suppress(KeyError), session.begin_nested():
            tracking.order(session, 2)
            with session.begin_nested():
                tracking.order(session, 3)
            raise KeyError
        tracking.order(session, 4)
        with session.begin_nested():
            tracking.order(session, 5)
        session.commit()
    assert tracking.delivered() == tracking.rows() == ["order 1", "order 4", "order 5"]


def test_the_rollback_of_the_outermost_transaction_drops_what_was_tracked_in_a_released_savepoint(
    tracking: Tracking,
) -> None:
    with Session(tracking.engine) as session:
        with session.begin_nested():
            tracking.order(session, 1)
        assert tracking.client.stats().pending == 0
        session.rollback()
    assert tracking.delivered() == tracking.rows() == []


def test_rolling_back_an_outer_savepoint_with_an_inner_one_open_drops_both(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        outer = session.begin_nested()
        tracking.order(session, 2)
        session.begin_nested()
        tracking.order(session, 3)
        outer.rollback()
        tracking.order(session, 4)
        session.commit()
    assert tracking.delivered() == tracking.rows() == ["order 1", "order 4"]


def test_a_flush_that_fails_in_a_savepoint_costs_its_events_and_not_those_around_it(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        session.flush()
        with contextlib.suppress(IntegrityError), session.begin_nested():
            tracking.track(session, "refused by the database")
            session.execute(text("INSERT INTO orders VALUES (1)"))
        tracking.order(session, 2)
        session.commit()
    assert tracking.delivered() == tracking.rows() == ["order 1", "order 2"]


def test_a_flush_that_fails_drops_all_because_the_session_has_to_be_rolled_back(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        session.commit()
        session.expunge_all()
        tracking.order(session, 1)
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        session.commit()
    assert tracking.delivered() == tracking.rows() == ["order 1"]


def test_what_is_tracked_in_the_middle_of_a_flush_waits_for_the_commit_too(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:

        @event.listens_for(session, "after_flush")
        def _after_flush(session: Session, _: object) -> None:
            for order in session.new:
                tracking.track(session, f"order {order.id}")

        session.add(Order(id=1))
        session.flush()
        assert tracking.client.stats().pending == 0
        session.commit()
    assert tracking.delivered() == tracking.rows() == ["order 1"]


def test_of_two_sessions_each_decides_about_its_own(tracking: Tracking) -> None:
    with Session(tracking.engine) as one, Session(tracking.engine) as other:
        tracking.track(one, "one")
        tracking.track(other, "other")
        one.rollback()
        other.commit()
        one.commit()
    assert tracking.delivered() == ["other"]


def test_the_second_commit_of_a_session_writes_nothing_again(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        session.commit()
        session.commit()
        tracking.order(session, 2)
        session.commit()
    assert tracking.delivered() == ["order 1", "order 2"]


def test_a_commit_that_the_database_refuses_writes_nothing(tracking: Tracking) -> None:
    """A deferred constraint is looked at by COMMIT itself."""
    with tracking.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE lines (of INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    with Session(tracking.engine) as session:
        session.execute(text("INSERT INTO lines VALUES (7)"))
        tracking.track(session, "refused")
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
    assert tracking.delivered() == []


def test_a_session_that_begins_nothing_by_itself_has_to_begin_first(tracking: Tracking) -> None:
    with Session(tracking.engine, autobegin=False) as session:
        with pytest.raises(lotus.ConfigurationError, match="autobegin=False, and no transaction was begun"):
            tracking.track(session, "x")
        with pytest.raises(InvalidRequestError):
            session.execute(text("SELECT 1"))  # as SQLAlchemy itself says
        with session.begin():
            tracking.track(session, "y")
    assert tracking.delivered() == ["y"]


def test_a_scoped_session_is_that_of_its_thread(tracking: Tracking) -> None:
    sessions = scoped_session(sessionmaker(tracking.engine))
    tracking.track(sessions, "dropped")
    sessions.rollback()
    tracking.track(sessions, "kept")
    sessions.commit()
    sessions.remove()
    assert tracking.delivered() == ["kept"]


@pytest.mark.parametrize("is_of_all", [True, False])
def test_a_listener_that_raises_after_the_commit_costs_no_event(tracking: Tracking, is_of_all: bool) -> None:
    session = Session(tracking.engine)
    target = Session if is_of_all else session

    def fail(_: Session) -> None:
        raise KeyError

    event.listen(target, "after_commit", fail)
    try:
        tracking.order(session, 1)
        with pytest.raises(KeyError):
            session.commit()
    finally:
        event.remove(target, "after_commit", fail)
        session.close()
    assert tracking.delivered() == tracking.rows() == ["order 1"]


def test_what_a_listener_tracks_after_the_commit_is_of_that_commit(tracking: Tracking) -> None:
    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        event.listen(session, "after_commit", lambda of: tracking.track(of, "receipt"))
        session.commit()
    assert tracking.delivered() == ["order 1", "receipt"]


def test_what_fails_after_the_commit_is_told_and_fails_nobody(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object, **__: object) -> str:
        raise lotus.QueueFull("the queue is full")

    with Session(tracking.engine) as session:
        tracking.order(session, 1)
        with monkeypatch.context() as patches:
            patches.setattr(Client, "track_event", full)
            session.commit()
        tracking.order(session, 2)
        session.commit()
    assert tracking.rows() == ["order 1", "order 2"]
    [(error, events)] = tracking.rig.errors
    assert (type(error), [each["event_name"] for each in events]) == (lotus.QueueFull, ["order 1"])
    assert "an event of a committed transaction is not accepted: the queue is full" in caplog.text
    assert tracking.delivered() == ["order 2"]


def test_an_async_session_writes_at_its_commit_and_drops_at_its_rollback(tracking: Tracking, tmp_path: Path) -> None:
    async def work() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/orders.db")
        _manual_savepoints(engine.sync_engine)
        make = async_sessionmaker(engine)
        async with make() as session:
            await session.execute(text("INSERT INTO orders VALUES (1)"))
            tracking.track(session, "order 1")
            await session.commit()
            tracking.track(session, "rolled back")
            await session.rollback()
            async with session.begin():
                with contextlib.suppress(KeyError):
                    async with session.begin_nested():
                        tracking.track(session, "in a savepoint")
                        raise KeyError
                await session.execute(text("INSERT INTO orders VALUES (2)"))
                tracking.track(session, "order 2")
        scoped: async_scoped_session[AsyncSession] = async_scoped_session(make, scopefunc=asyncio.current_task)
        tracking.track(scoped, "order 3")
        await scoped.execute(text("INSERT INTO orders VALUES (3)"))
        await scoped.commit()
        await scoped.remove()
        await engine.dispose()

    asyncio.run(work())
    assert tracking.delivered() == tracking.rows() == ["order 1", "order 2", "order 3"]


def test_with_a_joined_transaction_around_the_session_the_session_decides(tracking: Tracking) -> None:
    """A test suite's recipe, which rolls everything back in the end: the page says to use ``send=False`` there."""
    with tracking.engine.connect() as connection, connection.begin() as outer:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            tracking.order(session, 1)
            session.commit()
        outer.rollback()
    assert (tracking.delivered(), tracking.rows()) == (["order 1"], [])


def test_it_needs_no_greenlet() -> None:
    """SQLAlchemy 2.1 installs it only on request, and its asyncio module cannot be imported without it."""
    code = "import sys; sys.modules['greenlet'] = None; import lotus_durable.contrib.sqlalchemy"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment())


def test_with_on_invalid_report_an_invalid_event_is_a_dead_letter_if_its_transaction_commits(
    tracking: Tracking,
) -> None:
    tracking.client = tracking.rig.client(on_invalid="report")
    with Session(tracking.engine) as session:
        tracking.track(session, "rolled back", properties={"a": object()})
        session.rollback()
        event_id = tracking.track(session, "committed", properties={"a": object()})
        assert tracking.rig.errors == []
        session.commit()
    assert tracking.delivered() == []
    assert tracking.rig.ids("dead") == {event_id}
    assert [events[0]["event_name"] for _, events in tracking.rig.errors] == ["committed"]
