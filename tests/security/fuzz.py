"""What must hold of any bytes; and a long run over a million of them: what we write, changed at random.

python -m tests.security.fuzz --cases 1000000 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
from collections.abc import Callable

import msgpack

from lotus_durable.delivery.outcome import Blocked, Delivered, Settled
from lotus_durable.delivery.verdict import outcome_of, outcome_of_probe
from lotus_durable.event.record import RecordError, decode_record, unpack_record
from lotus_durable.http.answer import Answer
from lotus_durable.queue.format import (
    Header,
    UnknownFormat,
    decode_header,
    encode_carried,
    encode_frame,
    events_at_end,
    find_frame,
    find_last_frame,
    frames,
    is_incomplete,
)
from lotus_durable.queue.protocol import StoredEvent, decode_stored_event

MARKER = b"\xc1abc"
_RECORD = msgpack.packb(["id-1", "customer", "event", "2026-01-01T00:00:00Z", {"a": [1, 2.5, None, "x"]}, 1.7e9])
_SEGMENT = (
    Header(MARKER, 1, 1, b"i" * 16, b"k" * 8).encode()
    + encode_frame(MARKER, 0, _RECORD)
    + encode_carried(MARKER, 1, _RECORD, (b"o" * 16, 56))
    + encode_frame(MARKER, 2, _RECORD)
)
_ROW = StoredEvent(_RECORD, "Customer does not exist", 3, 1.7e9, 1.7e9).encode()
_REPORTS = [
    json.dumps(report).encode()
    for report in (
        {"success": "all", "failed_events": None},
        {"success": "some", "failed_events": {"a": "Customer does not exist"}},
        {"success": "none", "failed_events": {"no_idempotency_id": "Invalid JSON"}},
        {"message": "Invalid API key"},
        {"detail": "Authentication credentials were not provided."},
    )
]
_STATUSES = (200, 201, 204, 301, 400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504, 520, 524, 530)
_TYPES = ("application/json", "text/html", "application/json; charset=utf-8", "")


def check_frames(data: bytes, start: int = 0) -> None:
    """Whatever the bytes are: frames lie in them, in their order, and why they end is said."""
    for marker in (MARKER, data[:4].ljust(4, b"\xc1")):
        last = start
        for sequence, end, record, _ in frames(data, marker, start):
            assert last < end <= len(data)
            assert sequence >= 0
            assert isinstance(record, bytes)
            last = end
        is_incomplete(data[last:], marker)
        find_frame(data, marker)
        find_last_frame(data, marker)
        assert events_at_end(data, marker, 0) in (None, 0, 1)
    with contextlib.suppress(UnknownFormat):
        decode_header(data)


def check_record(data: bytes) -> None:
    """It is a record, or a RecordError."""
    for read in (unpack_record, decode_record):
        with contextlib.suppress(RecordError):
            read(data)


def check_row(data: object) -> None:
    """It is an event, perhaps one without a record."""
    stored = decode_stored_event(7, data)
    assert isinstance(stored, StoredEvent)
    assert stored.id == 7
    assert isinstance(stored.record, bytes)


def check_answer(status: int, content_type: str, body: bytes) -> None:
    """It is judged, for each event, and only Lotus' own word delivers one."""
    answer = Answer(status, content_type, body)
    outcome = outcome_of(answer, ["a", "b"], ["2026-01-01T00:00:00Z"] * 2, now=1.8e9)
    if isinstance(outcome, Settled):
        assert len(outcome.verdicts) == 2
        if any(isinstance(verdict, Delivered) for verdict in outcome.verdicts):
            assert status in (201, 400)
            assert b"success" in body
    outcome_of_probe(answer)
    assert status != 404 or isinstance(outcome, Blocked)


def changed(data: bytes, chance: random.Random) -> bytes:
    """Change bytes at random: bits, lengths, parts that are gone, twice there, or somewhere else."""
    found = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(6):
            case 0:
                del found[at : at + chance.randrange(20)]
            case 1:
                found[at:at] = chance.randbytes(chance.randrange(20))
            case 2:
                found[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", bytes(4), b"\x00\x00\x00\x80", MARKER))
            case 3:
                part = found[at : at + chance.randrange(60)]
                found[chance.randrange(len(found) + 1) : 0] = part
            case 4:
                del found[at:]
            case _:
                if at < len(found):
                    found[at] ^= 1 << chance.randrange(8)
    return bytes(found)


def _case(chance: random.Random) -> None:
    match chance.randrange(4):
        case 0:
            check_frames(changed(_SEGMENT, chance), chance.choice((0, 0, 56, chance.randrange(80))))
        case 1:
            check_record(changed(_RECORD, chance))
        case 2:
            check_row(changed(_ROW, chance))
        case _:
            body = changed(chance.choice(_REPORTS), chance)
            check_answer(chance.choice(_STATUSES), chance.choice(_TYPES), body)


def main(arguments: list[str] | None = None, say: Callable[[str], object] = sys.stdout.write) -> None:
    """Run so many cases; a failure names its seed and number, and raises."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    for number in range(options.cases):
        try:
            _case(random.Random(f"{options.seed}-{number}"))
        except BaseException:
            say(f"case {number} of seed {options.seed} fails\n")
            raise
    say(f"{options.cases} cases of seed {options.seed} in {time.monotonic() - began:.0f} s: none fails\n")


if __name__ == "__main__":
    main()
