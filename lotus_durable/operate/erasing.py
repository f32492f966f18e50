"""Everything of one customer leaves a queue: for requests that the law gives people a right to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from mmap import ACCESS_READ, mmap

from lotus_durable.config import Config
from lotus_durable.event.record import RecordError, unpack_record
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.files import open_to_read, regular_file_status, sync_path, write_synced
from lotus_durable.queue.format import UnknownFormat, encode_frame
from lotus_durable.queue.kept import kept_files
from lotus_durable.queue.protocol import Report, Table
from lotus_durable.queue.reader import BEGINNING, header_of
from lotus_durable.queue.rows import delete_rows
from lotus_durable.values import NamedTuple

from . import WAITING, Waiting, Where
from .holding import Held, held
from .pending import records_of
from .refused import change
from .rewriting import overwrite, take_out
from .stored import may_be_of, quarantined_files


class Erased(NamedTuple):
    """What is gone; each event counts as discarded."""

    pending: int
    parked: int
    dead_letters: int
    kept: int
    """Delivered events that keep_delivered has kept; these count as delivered still."""
    quarantined: int
    """Files of damaged bytes in which the customer's id was; what they held was counted before."""


def erase_customer(
    config: Config,
    customer_id: str,
    *,
    report: Report = lambda _: None,
    waiting: Waiting = WAITING,
) -> Erased:
    """Erase a customer's events that are pending, parked, dead letters or damaged. What Lotus has is not touched."""
    directory = QueueDirectory(config.queue_dir)
    where = Where(customer_id=customer_id)

    def is_wanted(record: bytes) -> bool:
        try:
            return unpack_record(record)[1] != customer_id
        except RecordError:
            return not may_be_of(customer_id, record)

    with held(config, waiting=waiting) as queue:
        pending = take_out(queue, is_wanted, report)
        tables: tuple[Table, ...] = ("parked", "dead")
        parked, dead = (change(queue, table, where, again=False).changed for table in tables)
        # Always: there may be what was parked and is delivered, or was thrown away before a kill or on a full disk.
        queue.consumer.books.overwrite_deleted()
        kept = sum(_from_kept(queue, file.path, is_wanted) for file in list(kept_files(directory)))
        _overwrite_settled(queue, customer_id)
        quarantined = _quarantined(directory, customer_id)
    return Erased(pending, parked, dead, kept, quarantined)


def _overwrite_settled(queue: Held, customer_id: str) -> None:
    """Overwrite what was delivered of a customer and lies in segments that programs still have open, and in rows."""
    directory = queue.directory
    queue.consumer.make_safe()
    delete_rows(directory, queue.consumer.books.known.cursor)
    for name in directory.segments():
        path = f"{directory.journal}/{name}"
        with contextlib.suppress(FileNotFoundError, UnknownFormat):
            if regular_file_status(path) is None:
                continue
            header = header_of(path)
            cursor = BEGINNING if header is None else max(BEGINNING, queue.consumer.books.known.cursor(header.id))
            if any(may_be_of(customer_id, record) for record, _ in queue.beating(records_of(path, cursor))):
                overwrite(path, cursor[0])


def _from_kept(queue: Held, path: str, is_wanted: Callable[[bytes], bool]) -> int:
    """Write a file that is kept anew without what is not wanted; return how many events that were."""
    records = [record for record, _ in queue.beating(records_of(path))]
    wanted = [record for record in records if is_wanted(record)]
    header = header_of(path)
    if len(wanted) < len(records) and header is not None:
        frames = (encode_frame(header.marker, number, record) for number, record in enumerate(wanted))
        write_synced(f"{path}.tmp", header.encode() + b"".join(frames))
        os.rename(f"{path}.tmp", path)
        sync_path(os.path.dirname(path))
    return len(records) - len(wanted)


def _quarantined(directory: QueueDirectory, customer_id: str) -> int:
    removed = 0
    for path in quarantined_files(directory):
        with contextlib.suppress(FileNotFoundError), open(open_to_read(path), "rb") as file:
            if os.fstat(file.fileno()).st_size:
                with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                    is_of_customer = may_be_of(customer_id, content)
                if is_of_customer:
                    os.unlink(path)
                    removed += 1
    return removed
