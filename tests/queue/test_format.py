"""The format by itself: bytes in, bytes out."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.queue.directory import marker_in_name, segment_name
from lotus_durable.queue.format import (
    FRAME_HEADER_SIZE,
    HEADER_SIZE,
    MAX_RECORD_SIZE,
    Header,
    Stop,
    UnknownFormat,
    classify,
    count_events_in_tail,
    decode_header,
    encode_frame,
    find_frame,
    find_last_frame,
    frames,
    new_header,
)

MARKER = b"\xc1abc"

records = st.lists(st.binary(max_size=40), max_size=6)


def join(bodies: list[bytes], first: int = 0) -> bytes:
    return b"".join(encode_frame(MARKER, first + index, body) for index, body in enumerate(bodies))


@given(records)
def test_frames_come_back_as_they_were_written(bodies: list[bytes]) -> None:
    data = join(bodies)
    assert [(sequence, record) for sequence, _, record in frames(data, MARKER)] == list(enumerate(bodies))
    assert classify(data, MARKER, len(data)) is Stop.END


def test_the_layout_is_the_documented_one() -> None:
    record = b"a record"
    body = struct.pack("<II", len(record), 7) + record
    assert encode_frame(MARKER, 7, record) == MARKER + struct.pack("<I", crc32(body)) + body
    header = Header(MARKER, pid=1, created_ns=2).encode()
    fields = b"LOTUSQ\r\n" + struct.pack("<HH4sIQ", 1, 32, MARKER, 1, 2)
    assert header == fields + struct.pack("<I", crc32(fields))
    assert (len(header), FRAME_HEADER_SIZE) == (HEADER_SIZE, 16)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_a_header_comes_back_as_it_was_written(created_ns: int, pid: int) -> None:
    header = Header(MARKER, pid, created_ns)
    assert decode_header(header.encode()) == header


def test_no_flipped_bit_of_a_header_goes_unnoticed() -> None:
    whole = new_header(1).encode()
    for bit in range(8 * HEADER_SIZE):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert decode_header(bytes(damaged)) is None
    for size in range(HEADER_SIZE):
        assert decode_header(whole[:size]) is None


@pytest.mark.parametrize(("magic", "version"), [(b"LOTUSQ\r\n", 2), (b"LOTUSQ\r\n", 0), (b"OTHERONE", 1)])
def test_a_whole_header_of_another_version_or_program_is_not_damage(magic: bytes, version: int) -> None:
    fields = magic + struct.pack("<HH4sIQ", version, 40, MARKER, 1, 2)
    with pytest.raises(UnknownFormat, match=f"version {version}"):
        decode_header(fields + struct.pack("<I", crc32(fields)))


def test_markers_differ_and_begin_with_a_byte_that_no_text_and_no_msgpack_has() -> None:
    markers = {new_header(1).marker for _ in range(100)}
    assert len(markers) > 90
    assert {marker[:1] for marker in markers} == {b"\xc1"}


def test_a_segment_name_carries_the_marker() -> None:
    name = segment_name(1, 2, MARKER)
    assert marker_in_name(name) == MARKER
    assert marker_in_name("renamed.seg") is None
    assert marker_in_name(name + ".bak") is None


@given(records.filter(bool), st.data())
def test_a_cut_buffer_gives_the_frames_before_the_cut_and_is_incomplete(
    bodies: list[bytes], data: st.DataObject
) -> None:
    whole = join(bodies)
    size = data.draw(st.integers(0, len(whole) - 1))
    found = list(frames(whole[:size], MARKER))
    assert [record for _, _, record in found] == bodies[: len(found)]
    end = found[-1][1] if found else 0
    assert classify(whole[:size], MARKER, end) is (Stop.END if end == size else Stop.INCOMPLETE)


def test_a_length_no_writer_writes_is_damage_and_not_a_frame_to_come() -> None:
    header = MARKER + struct.pack("<III", 0, MAX_RECORD_SIZE + 1, 0)
    assert classify(header, MARKER) is Stop.DAMAGED
    assert list(frames(header + bytes(100), MARKER)) == []


def test_the_next_whole_frame_is_found_behind_false_markers() -> None:
    good = encode_frame(MARKER, 9, b"good")
    false = MARKER + b"noise" + MARKER
    assert find_frame(false + good + false, MARKER) == (len(false), 9)
    assert find_frame(false, MARKER) is None


def test_a_frame_that_was_there_before_is_not_the_next_one() -> None:
    assert find_frame(join([b"again"], first=3) + join([b"new"], first=5), MARKER, 4) == (FRAME_HEADER_SIZE + 5, 5)


def test_the_last_whole_frame_is_found_before_a_torn_one_and_false_markers() -> None:
    data = join([b"one", b"two", b"three"])
    found = find_last_frame(data[:-1] + MARKER, MARKER)
    assert found is not None
    assert (found[0], found[2]) == (1, b"two")
    assert find_last_frame(b"\xc1" * 10, MARKER) is None


def test_a_record_that_holds_a_frame_of_another_marker_is_one_record() -> None:
    forged = encode_frame(b"\xc1xyz", 1, b"forged")
    data = join([forged])
    assert [record for _, _, record in frames(data, MARKER)] == [forged]
    # Also when its own frame is damaged, and a reader searches inside it.
    damaged = data[:5] + bytes([data[5] ^ 1]) + data[6:]
    assert find_frame(damaged, MARKER) is None


# What damaged frames at the end of a segment held


def flip(data: bytes, index: int, bit: int = 0) -> bytes:
    return data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]


def test_each_flipped_bit_of_a_last_frame_counts_as_one_event() -> None:
    whole = encode_frame(MARKER, 5, b"the last record")
    for bit in range(8 * len(whole)):
        assert count_events_in_tail(flip(whole, bit // 8, bit % 8), MARKER, 5) == 1, bit


def test_two_damaged_last_frames_count_as_two_events() -> None:
    first, second = encode_frame(MARKER, 5, b"the last but one"), encode_frame(MARKER, 6, b"the last")
    for one in (4, 7, 16, len(first) - 1):  # its checksum and its record
        for two in range(len(second)):
            assert count_events_in_tail(flip(first, one) + flip(second, two), MARKER, 5) == 2, (one, two)


def test_a_torn_frame_behind_a_damaged_one_is_no_event() -> None:
    first, second = encode_frame(MARKER, 5, b"the last but one"), encode_frame(MARKER, 6, b"torn")
    for size in range(len(second)):
        for index in (*range(8), *range(12, len(first))):  # without its length there is no telling
            assert count_events_in_tail(flip(first, index) + second[:size], MARKER, 5) == 1, (size, index)


@pytest.mark.parametrize("tail", [b"", b"\0" * 50, b"garbage" * 9, MARKER, MARKER * 9])
def test_bytes_that_never_were_frames_are_no_events(tail: bytes) -> None:
    assert count_events_in_tail(tail, MARKER, 5) == 0
