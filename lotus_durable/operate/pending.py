"""Reading what is pending, from any process: the segments and ``queue.db``, from where the books say they are settled.

What it gives is what the next flusher would read, as of now: one that lives goes on meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from lotus_durable.errors import QueueDamaged
from lotus_durable.queue.contents import Known
from lotus_durable.queue.directory import QUEUE_DB, QueueDirectory, original_name
from lotus_durable.queue.files import regular_file_status
from lotus_durable.queue.format import FRAME_HEADER_SIZE, ORIGIN_SIZE, Header, Origin, UnknownFormat
from lotus_durable.queue.identity import NO_KEY
from lotus_durable.queue.protocol import Report
from lotus_durable.queue.reader import Position, SegmentReader, header_of
from lotus_durable.queue.rows import FIND_ID, split_row
from lotus_durable.queue.table import asked, fetched, read_pages
from lotus_durable.values import NamedTuple

_LIMIT = 500


class Found(NamedTuple):
    """One event that is pending, or a damaged stretch."""

    source: bytes
    """The id of its segment, or of ``queue.db``."""
    file: str
    """Its name."""
    start: int
    """Where it begins there: a byte, or a row."""
    end: Position
    """Where the next one begins."""
    record: bytes
    key: bytes
    """The fingerprint of the API key under which it was tracked."""
    origin: Origin | None = None
    """Where it was before, if its writer carried it over."""
    damage: bytes | None = None
    """The bytes that are no event, in the place of a record."""
    lost: int = 0
    """How many events it held, of a damaged stretch."""


class PendingReader:
    """Reads what is pending."""

    def __init__(self, directory: QueueDirectory, report: Report) -> None:
        self._directory = directory
        self._report = report
        self._read: dict[bytes, int] = {}
        self._copied: dict[bytes, set[int]] = {}
        self._known = read_known(directory, report)

    def __iter__(self) -> Iterator[Found]:
        """Give everything that is pending, file by file, oldest first."""
        for name in self._directory.segments():
            yield from self.segment(name)
        yield from self.rows()

    def segment(self, name: str) -> Iterator[Found]:
        """Give what is pending in one segment; nothing where it is gone."""
        path = f"{self._directory.journal}/{name}"
        try:
            if regular_file_status(path) is None:
                self._report(QueueDamaged(f"journal/{name} is left alone: it is no regular file"))
                return
            reader = SegmentReader(path)
        except FileNotFoundError:
            return
        except (OSError, UnknownFormat) as error:
            self._report(QueueDamaged(f"journal/{name} is left alone: {error}"))
            return
        reader.position = self._known.cursor(source_of(reader, name))
        try:
            yield from self._without_repeats(_frames(reader))
        except OSError as error:
            self._report(QueueDamaged(f"journal/{name}, from byte {reader.position[0]} on: {error}"))

    def rows(self) -> Iterator[Found]:
        """Give what is pending in ``queue.db``."""
        yield from self._without_repeats(self._rows())

    def _rows(self) -> Iterator[Found]:
        source = self._source_of_rows()
        first, read = self._known.cursor(source)
        statement = "SELECT _id, data FROM queue_pending WHERE _id >= ? + 1 ORDER BY _id LIMIT ?"

        def page(after: int, limit: int) -> list[tuple[Any, ...]]:
            return fetched(self._directory.queue_db, statement, (after, limit))

        rows = read_pages(page, self._report, max(1, first) - 1)
        for sequence, (row, data) in enumerate(rows, read + 1):
            end = (row + 1, sequence)
            key, record = split_row(data)
            if key is not None:
                yield Found(source, QUEUE_DB, row, end, record, key)
            else:
                yield Found(source, QUEUE_DB, row, end, b"", NO_KEY, None, record, 1)

    def count_rows(self) -> tuple[int, float | None]:
        """Return how many rows are pending, and since when the first one is.

        Raises:
            OSError: ``queue.db`` cannot be read.
        """
        first, _ = self._known.cursor(self._source_of_rows())
        statement = "SELECT count(*), min(timestamp) FROM queue_pending WHERE _id >= ?"
        found = fetched(self._directory.queue_db, statement, (first,))
        return (found[0][0], found[0][1]) if found else (0, None)

    def _source_of_rows(self) -> bytes:
        identity = []
        with contextlib.suppress(OSError):  # no flusher has seen it yet
            identity = fetched(self._directory.queue_db, FIND_ID)
        return bytes(identity[0][0]) if identity else b""

    def _without_repeats(self, events: Iterator[Found]) -> Iterator[Found]:
        """Leave out what is settled, also by way of a copy, and of an event and its copy the one that is met later."""
        for found in events:
            places = [(found.source, found.start)] + ([found.origin] if found.origin is not None else [])
            is_left_out = any(self._known.is_settled(each) or self._is_met(each) for each in places)
            if found.origin is not None:
                self._copied.setdefault(found.origin[0], set()).add(found.origin[1])
            self._read[found.source] = found.end[0]
            if not is_left_out:
                yield found

    def _is_met(self, place: Origin) -> bool:
        segment, offset = place
        return offset < self._read.get(segment, 0) or offset in self._copied.get(segment, ())


def read_known(directory: QueueDirectory, report: Report) -> Known:
    """Return what the books say; what comes before the damage where they are damaged, which is reported."""
    known = Known()
    try:
        asked(directory.books, known.load)
    except OSError as error:
        report(QueueDamaged(f"{error}; what is not known to be settled counts as pending"))
    return known


def headers(directory: QueueDirectory) -> Iterator[tuple[str, Header | None]]:
    """Give the path of each segment, and its header: None where that is damaged. Without what cannot be read now."""
    for name in directory.segments():
        path = f"{directory.journal}/{name}"
        with contextlib.suppress(OSError, UnknownFormat):
            yield path, header_of(path)


def source_of(reader: SegmentReader, name: str) -> bytes:
    """Return by what the books know a segment: its id, or its first name where its header cannot be read."""
    return reader.header.id if reader.header is not None else original_name(name).encode()


def records_of(path: str, ends: Position | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Give (record, key) of the events in one segment, whether they are settled or not; nothing where it is gone.

    Args:
        path: of the segment.
        ends: up to where; to its end if not given.
    """
    with contextlib.suppress(FileNotFoundError, UnknownFormat):
        for found in _frames(SegmentReader(path)):
            if ends is not None and found.end > ends:
                return
            if found.damage is None:
                yield found.record, found.key


def _frames(reader: SegmentReader) -> Iterator[Found]:
    """Give all that follows in a segment, and close it."""
    source = source_of(reader, reader.name)
    with contextlib.closing(reader):
        while (stretch := reader.read(_LIMIT)) is not None:
            if (damage := stretch.damage) is not None:
                end = stretch.positions[-1]
                yield Found(source, reader.name, damage.offset, end, b"", reader.key, None, damage.data, damage.events)
            for index, (record, end) in enumerate(zip(stretch.records, stretch.positions, strict=False)):
                origin = stretch.carried.get(index)
                size = FRAME_HEADER_SIZE + len(record) + (ORIGIN_SIZE if origin else 0)
                yield Found(source, reader.name, end[0] - size, end, record, reader.key, origin)
