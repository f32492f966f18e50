"""What the queue makes of a disk after a power cut, and everything that is not as promised about it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lotus_durable import Client
from lotus_durable.config import Config
from lotus_durable.errors import LotusError
from lotus_durable.event.record import decode_record
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Settlement, StoredEvent
from lotus_durable.queue.stats import QueueStats
from lotus_durable.testing import FakeLotus
from tests.chaos.oracle import gap
from tests.chaos.plan import API_KEY
from tests.pages import read_page

_MANY = 1 << 30
_PASSES = 4


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of one state."""

    must: frozenset[str]
    """Events that were safe."""
    may: frozenset[str]
    """Events that somebody tracked, or tried to."""
    at_server: frozenset[str]
    """What the server holds."""
    may_be_damaged: bool
    """Whether pages may be missing in the middle of files."""
    has_books: bool = True
    """Somebody has removed the books, with what was counted in them, and they are not written back."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one state."""

    sent: Sequence[str]
    """What was sent, in order."""
    dead: Sequence[str]
    unreadable: int
    """Dead letters of which nothing is left."""
    counts: QueueStats
    problems: Sequence[str] = ()


def problems_of(expected: Expected, found: Found, directory: QueueDirectory) -> list[str]:
    """Return everything that is not as promised, a sentence each."""
    readable = expected.at_server | set(found.sent) | set(found.dead)
    lost = sorted(expected.must - readable)
    strange = sorted(readable - expected.may)
    twice = sorted(each for each, times in Counter(found.sent).items() if times > 1)
    counts, letters = found.counts, Counter(found.dead)
    problems = list(found.problems)
    if lost:
        problems.append(f"{len(lost)} events that were safe are LOST: {lost[:5]}")
    if strange:
        problems.append(f"events that nobody tracked: {strange[:5]}")
    if twice:
        problems.append(f"sent more than once: {twice[:5]}")
    if max(letters.values(), default=0) > 1:
        problems.append(f"in more than one dead letter: {letters.most_common(3)}")
    if gap(counts) or counts.pending or counts.parked or counts.discarded:
        problems.append(f"the numbers do not add up after a drain: {counts}")
    if not len(expected.must) * expected.has_books <= counts.accepted <= len(readable) + found.unreadable:
        problems.append(
            f"accepted: {counts.accepted}; safe were {len(expected.must)}, there are {len(readable)} and "
            f"{found.unreadable} unreadable ones"
        )
    if found.unreadable and not expected.may_be_damaged:
        problems.append(f"{found.unreadable} dead letters about torn or zero-filled tails, which are no events")
    if names := directory.segments():
        problems.append(f"segments that take room for ever: {names}")
    return problems


def recovered_by_consumer(directory: QueueDirectory) -> Found:
    """Have the flusher's side of the queue read and settle everything, as delivered; then once more, and a new event.

    Parked events are delivered at their next try.
    """
    told: list[LotusError] = []
    sent: list[str] = []
    problems: list[str] = []
    with contextlib.closing(Consumer(directory, told.append)) as consumer:
        for _ in range(_PASSES):  # what is held back comes in the next pass
            sent += _delivered(consumer)
            consumer.retire()
        parked = consumer.page("parked", 0, _MANY)
        consumer.settle(Settlement(through={}, delivered=len(parked), parked=[], dead=[], resolved=parked))
        sent += _ids(parked)
        consumer.retire()
        counts = count(directory, consumer.progress())
    letters = read_page(directory.books, "dead", 0, _MANY)
    with contextlib.closing(Consumer(directory, told.append)) as consumer:
        again = [*_delivered(consumer), *_ids(consumer.page("parked", 0, _MANY))]
        if again or count(directory, consumer.progress()) != counts:
            problems.append(f"who opens it next sees something else: {again}, {count(directory, consumer.progress())}")
    return Found(sent, _ids(letters), _unreadable(letters), counts, problems)


def recovered_by_flusher(directory: QueueDirectory, config: Config, organisation: str) -> Found:
    """Have a process track one more event and end, and another one drain all to a FakeLotus; ask its database."""
    problems: list[str] = []
    one_more = "after-the-cut"
    with FakeLotus("L24", api_key=API_KEY) as server:
        server.accounts.organization_id = organisation
        client = Client.from_config(config._replace(host=server.host))
        try:
            client.track_event(customer_id="c", event_name="call", idempotency_id=one_more)
            client.release()
            report = client.drain(timeout=30.0)
        finally:
            client.release()
        if not report.complete:
            problems.append(f"it could not be drained: {report}")
        database = server.database
        if server.duplicates:
            problems.append(f"{server.duplicates} events were sent twice in one drain")
        if one_more not in database:
            problems.append("an event that was tracked after the cut is not in the server's database")
    sent = sorted(database - {one_more})
    parked = _ids(read_page(directory.books, "parked", 0, _MANY))
    if both := sorted(set(parked) & set(sent)):
        problems.append(f"parked and in the server's database: {both[:5]}")
    letters = read_page(directory.books, "dead", 0, _MANY)
    counts = count(directory)
    settled = counts._replace(
        accepted=counts.accepted - 1, delivered=counts.delivered - 1 + counts.parked, parked=0
    )  # of what was there before
    return Found([*sent, *parked], _ids(letters), _unreadable(letters), settled, problems)


def _delivered(consumer: Consumer) -> list[str]:
    """Deliver one pass; return the ids."""
    ids: list[str] = []
    while (chunk := consumer.read(50)) is not None:
        lost = chunk.damage.events if chunk.damage is not None else 0
        now = time.time()
        consumer.settle(
            Settlement(
                through={chunk.source: chunk.positions[-1]},
                delivered=len(chunk.records),
                parked=[],
                dead=[StoredEvent(b"", str(chunk.damage), 0, now, now)] * lost,
            )
        )
        ids += [decode_record(each).idempotency_id for each in chunk.records]
    return ids


def _ids(events: Sequence[StoredEvent]) -> list[str]:
    return [decode_record(each.record).idempotency_id for each in events if each.record]


def _unreadable(events: Sequence[StoredEvent]) -> int:
    return sum(1 for each in events if not each.record)
