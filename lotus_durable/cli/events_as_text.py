"""Events as people and programs read them: a row of a list, a JSON object, a file of JSON Lines."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterable
from itertools import islice
from tempfile import mkstemp
from typing import TYPE_CHECKING, TextIO

from lotus_durable.event.record import event_as_json_object
from lotus_durable.operate import Watch, named, unwatched
from lotus_durable.queue.files import TEMPORARY

from .output import say
from .wording import duration

if TYPE_CHECKING:
    from lotus_durable.operate.stored import Stored

_AT_ONCE = 500
KEYS = """\
keys of an event:
  idempotency_id, customer_id, event_name, time_created, properties
                 the event, as it is sent
  accepted_at    when track_event accepted it, seconds since the epoch
  state          pending, parked, dead_letter, quarantined or kept
  reason         why it was refused, if it was
  attempts, refused_since, refused_last
                 how often and when, seconds since the epoch
  row, place     where it is
  data           in the place of the event's own keys where it cannot be read: the bytes, in base64"""


def as_json(stored: Stored) -> dict[str, object]:
    """Return everything that is known of an event."""
    event = stored.event
    if event is not None:
        found: dict[str, object] = {**event_as_json_object(event), "accepted_at": event.accepted_at}
    else:
        found = {"data": base64.b64encode(stored.data).decode()}
    found["state"] = stored.state
    if stored.since is not None:
        found |= {
            "reason": stored.reason,
            "attempts": stored.attempts,
            "refused_since": stored.since,
            "refused_last": stored.tried,
            "row": stored.row,
        }
    elif stored.reason:
        found["reason"] = stored.reason
    return {**found, "place": stored.place}


def as_row(stored: Stored) -> str:
    """Return a line of a list."""
    event = stored.event
    if event is None:
        return f"{stored.row:>8}  (cannot be read)  {stored.reason}"
    ago = duration(max(0.0, time.time() - event.accepted_at))
    what = f"{event.idempotency_id}  {event.event_name} of {event.customer_id}"
    return f"{stored.row:>8}  {what}, accepted {ago} ago: {stored.reason}"


def write_lines(events: Iterable[Stored], path: str | None, *, indented: bool = False, watch: Watch = unwatched) -> int:
    """Write events as JSON, one after the other; return how many.

    Args:
        events: what is written.
        path: of the file, which is there as a whole or not at all; None for standard output. What is there and is no
            regular file (a pipe, ``/dev/null``) is written to.
        indented: for reading by people.
        watch: told how many are in the file.

    Raises:
        OSError: the disk refuses.
    """
    written = 0
    if path is None:
        for each in events:
            say(json.dumps(as_json(each), indent=2 if indented else None))
            written += 1
        return written
    if os.path.exists(path) and not os.path.isfile(path):
        with named(path), open(path, "w", encoding="utf-8") as file:
            return _write_each(events, file, path, watch)
    target = os.path.realpath(path)  # a link stays one
    with named(path):
        descriptor, unfinished = mkstemp(TEMPORARY, f"{os.path.basename(target)}.", os.path.dirname(target))
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            written = _write_each(events, file, path, watch)
            os.fsync(file.fileno())
        os.rename(unfinished, target)
    except BaseException:
        os.unlink(unfinished)
        raise
    return written


def _write_each(events: Iterable[Stored], file: TextIO, path: str, watch: Watch) -> int:
    written = 0
    lines = (f"{json.dumps(as_json(each))}\n" for each in events)
    while some := list(islice(lines, _AT_ONCE)):
        with named(path):
            file.writelines(some)
            file.flush()
        written += len(some)
        watch(written)
    return written
