"""``track_event``: all that is done with each event.

It is one function down to the kernel, but for the encoder: a call from one function of Python to another costs as much
as three checks. :mod:`.tracker` has what is not done with each event.
"""

from __future__ import annotations

import os
from zlib import crc32

from lotus_durable import fork
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.queue.files import write_rest
from lotus_durable.queue.format import SPREAD, pack_frame_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from lotus_durable.tracker import Tracker

_mark = fork.mark


class Tracks:
    """Has ``track_event``.

    Args:
        tracker: what it tracks with; None where a subclass does otherwise.
    """

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracks_with: Tracker | None = tracker

    def track_event(  # noqa: C901  # see above
        self,
        *,
        customer_id: str,
        event_name: str,
        properties: Mapping[str, object] | None = None,
        time_created: datetime | str | None = None,
        idempotency_id: str | None = None,
    ) -> str:
        """Accept one event: when this returns, it survives this process, and will be delivered.

        Args:
            customer_id: the customer's id, as given to ``create_customer``; 1 to 50 characters, or a whole number.
            event_name: what happened, as the metrics name it; 1 to 100 characters, 200 with ``api_version="2022"``.
            properties: a mapping with string keys of what JSON can hold; ``Decimal``, ``datetime``, ``date``,
                ``UUID``, ``Enum``, sets and tuples are converted.
            time_created: when it happened; now if not given. A naive datetime is taken as UTC.
            idempotency_id: at most 255 characters; the server counts events with the same id once. A random UUID if
                not given.

        Returns:
            The idempotency id.

        Raises:
            InvalidEvent: an argument is refused; the message names the field and the reason. Nothing was written.
                Not raised with ``on_invalid="report"``.
            QueueFull: the event was not accepted: the queue is over ``max_queue_bytes``, or the disk takes no
                writes and the memory buffer is full.
            QueueDirectoryError: the event was not accepted: the queue directory has never worked for this process.
            EventRefused: with ``sync_mode`` only: the server refused it for good.
        """
        tracker = self._tracks_with
        if tracker is None:
            return self._track_otherwise(customer_id, event_name, properties, time_created, idempotency_id)
        if not _mark[0]:
            fork.begin_process()
        pairs = tracker.pairs
        try:
            pair = pairs.pop()
        except IndexError:
            pair = tracker.new_pair()
        mark = None
        try:
            encode = pair.encode  # in two steps, here and below: Python 3.11 looks for a method longer
            event_id, record = encode(customer_id, event_name, properties, time_created, idempotency_id)
            clock = tracker.now
            now = clock()
            appender, length = pair.appender, len(record)
            writer = appender.writer
            try:
                if (
                    writer is None
                    or not appender.checked_at <= now < appender.trusted_until
                    or writer.end + length > writer.stop_at
                    or tracker.waiting
                ):
                    mark = tracker.append(pair, record, now)
                else:
                    # What Appender.append() would do: most events find a segment that was checked lately and has room.
                    sequence, end = writer.sequence, writer.end
                    checksum = crc32(record, sequence * SPREAD)
                    frame = pack_frame_header(writer.marker, checksum, length, sequence) + record
                    size = len(frame)
                    try:
                        writer.kept.append(record)
                        written = os.pwrite(writer.descriptor, frame, end)
                        if written != size:
                            write_rest(writer.descriptor, frame, end, written)
                        writer.sequence = sequence + 1
                        writer.end = end + size
                    except BaseException as error:
                        writer.undo(error, sequence, size)
                        if not isinstance(error, OSError):
                            raise
                        appender.append_after(error, record, now)
            except (OSError, QueueDirectoryError) as error:
                tracker.keep(record, error)
        finally:
            pairs.append(pair)
        if mark is not None:
            tracker.sync(record, mark)
        # Anew: what was on disk before this moment is seen by a flusher that leaves. The call may have been held up.
        now = clock()
        if now >= tracker.look_at or now < tracker.looked_at:
            tracker.look_after_event(now)
        return event_id

    def _track_otherwise(self, *event: Any) -> str:  # noqa: ANN401  # the values of track_event's arguments
        """Do with an event what a subclass does that not only tracks."""
        raise NotImplementedError
