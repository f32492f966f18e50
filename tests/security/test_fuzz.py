"""Bytes that somebody else wrote: frames, books, heartbeat, requests, settings, answers. Nothing raises what is not its
to raise, nothing hangs, and what is whole is found.

The number of cases is ``LOTUS_TEST_EXAMPLES`` (of each test); CONTRIBUTING.md has the long run.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lotus_durable.config import Config
from lotus_durable.errors import LotusError
from lotus_durable.operate.importing import import_events
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import HEADER_SIZE, Header, UnknownFormat, encode_frame
from lotus_durable.queue.heartbeat import Progress, read_beat, read_progress
from lotus_durable.queue.identity import read_identity
from lotus_durable.queue.protocol import decode_stored_event
from lotus_durable.queue.reader import SegmentReader, glance
from lotus_durable.queue.requests import since

from .fuzz import MARKER, check_frames, check_row, main

CASES = settings(
    max_examples=int(os.environ.get("LOTUS_TEST_EXAMPLES", "60")),
    suppress_health_check=list(HealthCheck),
)
RECORDS = st.lists(st.binary(max_size=60), max_size=12)
EDITS = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=20), st.integers(0, 20)), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def journal_bytes(records: list[bytes]) -> bytes:
    header = Header(MARKER, 1, 1, b"i" * 16, b"k" * 8).encode()
    return header + b"".join(encode_frame(MARKER, number, record) for number, record in enumerate(records))


def edited(data: bytes, edits: list[tuple[int, bytes, int]]) -> bytes:
    """Put bytes in, over others or between them, wherever."""
    for place, new, removed in edits:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + removed :]
    return data


def read_all(path: Path) -> tuple[list[bytes], int]:
    """Read a segment that nobody writes as the flusher does; return the records, and how many bytes were damage."""
    found: list[bytes] = []
    damaged = 0
    reader = SegmentReader(str(path))
    try:
        for _ in range(1000):
            before = reader.position
            stretch = reader.read(7)
            if stretch is None:
                break
            assert reader.position > before, "it goes on"
            found += stretch.records
            damaged += len(stretch.damage.data) if stretch.damage is not None else 0
        else:
            raise AssertionError("it reads for ever")
    finally:
        reader.close()
    return found, damaged


@CASES
@given(st.binary(max_size=400), st.integers(0, 50))
def test_any_bytes_are_frames_or_none(data: bytes, start: int) -> None:
    check_frames(data, start)


@CASES
@given(RECORDS, EDITS)
@example([b"\0\0\0", b"\0\0\0\1"], [(0, b"\0\0", 0), (677, b"\0\0\0\1", 0)])  # record and sequence changed places
def test_an_edited_segment_is_read_to_its_end(records: list[bytes], edits: list[tuple[int, bytes, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "00000000000000000001-1-c1616263.seg")
        path.write_bytes(edited(journal_bytes(records), edits))
        try:
            found, _ = read_all(path)
            glance(str(path), (HEADER_SIZE, 0))
        except UnknownFormat:
            return
    position = 0
    for record in found:  # in their order, and none that was not written
        assert record in records[position:], "a record that nobody wrote"
        position = records.index(record, position) + 1


@CASES
@given(RECORDS, st.integers(0, 11), st.binary(min_size=1, max_size=30))
def test_damage_in_one_frame_hides_no_other(records: list[bytes], which: int, noise: bytes) -> None:
    records = [bytes([number]) + record for number, record in enumerate(records)]
    if not records:
        return
    which %= len(records)
    whole = [encode_frame(MARKER, number, record) for number, record in enumerate(records)]
    damaged = bytes(each ^ 0x55 for each in whole[which][: len(noise)]) + whole[which][len(noise) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "00000000000000000001-1-c1616263.seg")
        header = Header(MARKER, 1, 1, b"i" * 16, b"k" * 8).encode()
        path.write_bytes(header + b"".join([*whole[:which], damaged, *whole[which + 1 :]]))
        found, _ = read_all(path)
    assert found == records[:which] + records[which + 1 :]


@CASES
@given(st.binary(max_size=200) | st.builds(msgpack.packb, JSON) | st.text() | st.none() | st.integers())
def test_any_row_of_the_books_is_an_event(data: Any) -> None:
    check_row(data)


@pytest.mark.parametrize("key", [2**40, -1, [1, 2], "text", None])
def test_a_row_whose_key_is_no_bytes_is_damaged_and_takes_no_memory(key: object) -> None:
    row = msgpack.packb([b"record", "reason", 1, 1.0, 1.0, key, 0.0, 0.0])
    assert decode_stored_event(7, row).record == b""


@CASES
@given(st.binary(max_size=300), st.binary(max_size=100), st.integers(0, 40))
def test_any_files_of_a_queue_are_read_or_refused(data: bytes, more: bytes, number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = QueueDirectory(folder)
        Path(directory.heartbeat).write_bytes(data.ljust(16 * 1024, b"\0") + more)
        Path(directory.requests).write_bytes(data)
        Path(directory.identity).write_bytes(more)
        read_beat(directory)
        assert isinstance(read_progress(directory), Progress)
        assert all(request.number > number for request in since(directory, number))
        with contextlib.suppress(LotusError):
            read_identity(directory)


@CASES
@given(st.binary(max_size=300))
def test_any_file_is_imported_or_refused_as_a_whole(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)
        config = Config.resolve({"queue_dir": folder})
        try:
            import_events(config, io.BytesIO(data))
        except LotusError:
            assert QueueDirectory(folder).segments() == []
        assert QueueDirectory(folder).unfinished() == []


def test_the_long_run_runs() -> None:
    said: list[str] = []
    main(["--cases", "300", "--seed", "7"], said.append)
    assert said[0].startswith("300 cases of seed 7 in ")
