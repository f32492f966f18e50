"""The format by itself: bytes in, bytes out."""

from __future__ import annotations

import struct
from itertools import combinations
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.queue.directory import marker_in_name, segment_name
from lotus_durable.queue.format import (
    FRAME_HEADER_SIZE,
    HEADER_SIZE,
    MAX_RECORD_SIZE,
    ORIGIN_SIZE,
    SECTOR,
    Header,
    Origin,
    UnknownFormat,
    decode_header,
    encode_carried,
    encode_frame,
    events_at_end,
    find_frame,
    find_last_frame,
    frames,
    is_incomplete,
    new_header,
)

MARKER = b"\xc1abc"
ID, KEY = bytes(range(16)), b"key's id"
CARRIED = 1 << 31

records = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def join(bodies: list[bytes], first: int = 0) -> bytes:
    return b"".join(encode_frame(MARKER, first + index, body) for index, body in enumerate(bodies))


@given(records)
def test_frames_come_back_as_they_were_written(bodies: list[bytes]) -> None:
    data = join(bodies)
    assert [(sequence, record) for sequence, _, record, _ in frames(data, MARKER)] == list(enumerate(bodies))


origins = st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.none() | origins), max_size=6))
def test_carried_frames_come_back_with_where_they_were(bodies: list[tuple[bytes, Origin | None]]) -> None:
    data = b"".join(
        encode_frame(MARKER, number, body) if origin is None else encode_carried(MARKER, number, body, origin)
        for number, (body, origin) in enumerate(bodies)
    )
    assert [(record, origin) for _, _, record, origin in frames(data, MARKER)] == bodies


def test_the_layout_is_the_documented_one() -> None:
    record = b"a record"
    seed = 7 * 0x5A5 % 2**32
    assert encode_frame(MARKER, 7, record) == MARKER + struct.pack("<III", crc32(record, seed), len(record), 7) + record
    body = struct.pack("<16sQ", ID, 56) + record
    start = struct.pack("<III", crc32(body, (seed + 0x9E3779B9) % 2**32), len(body) | CARRIED, 7)
    assert encode_carried(MARKER, 7, record, (ID, 56)) == MARKER + start + body
    header = Header(MARKER, pid=1, created_ns=2, id=ID, key=KEY).encode()
    fields = b"LOTUSQ\r\n" + struct.pack("<HH4sIQ16s8s", 1, 56, MARKER, 1, 2, ID, KEY)
    assert header == fields + struct.pack("<I", crc32(fields))
    assert (len(header), FRAME_HEADER_SIZE, ORIGIN_SIZE) == (HEADER_SIZE, 16, 24)


@pytest.mark.parametrize("carried", [False, True])
def test_no_two_flipped_bits_of_a_frame_go_unnoticed(carried: bool) -> None:
    record = b"a record"
    whole = encode_carried(MARKER, 7, record, (ID, 56)) if carried else encode_frame(MARKER, 7, record)
    # The four highest bits of a sequence are not among them: no segment has 2**28 frames.
    bits = [bit for bit in range(8 * len(whole)) if bit not in range(8 * 15 + 4, 8 * 16)]
    for first, second in combinations(bits, 2):
        damaged = bytearray(whole)
        damaged[first // 8] ^= 1 << first % 8
        damaged[second // 8] ^= 1 << second % 8
        assert not list(frames(bytes(damaged), MARKER)), (first, second)


def test_a_sequence_and_a_record_that_change_places_do_not_go_unnoticed() -> None:
    for sequence, other in combinations([0, 1, 2, 3, 255, 256, 65_536, 1_000_000], 2):
        frame = encode_frame(MARKER, sequence, other.to_bytes(4, "little"))
        assert not list(frames(frame[:12] + frame[16:] + frame[12:16], MARKER))


@pytest.mark.parametrize("carried", [False, True])
def test_whatever_a_damaged_sequence_says_a_checksum_is_begun_with_32_bits(
    carried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More are a warning since Python 3.15."""
    seeds = []

    def checked(data: bytes, seed: int = 0) -> int:
        seeds.append(seed)
        return crc32(data, seed)

    monkeypatch.setattr("lotus_durable.queue.format.crc32", checked)
    for sequence in (2**31, 2**32 - 1):
        record = b"a record"
        frame = (
            encode_carried(MARKER, sequence, record, (ID, 56)) if carried else encode_frame(MARKER, sequence, record)
        )
        assert [each[2] for each in frames(frame, MARKER)] == [record]
        assert not events_at_end(frame[:-1], MARKER, 0)
    assert len(seeds) >= 6
    assert max(seeds) < 2**32


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_a_header_comes_back_as_it_was_written(created_ns: int, pid: int) -> None:
    header = Header(MARKER, pid, created_ns, ID, KEY)
    assert decode_header(header.encode()) == header


def test_no_flipped_bit_of_a_header_goes_unnoticed() -> None:
    whole = new_header(1, KEY).encode()
    for bit in range(8 * HEADER_SIZE):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert decode_header(bytes(damaged)) is None
    for size in range(HEADER_SIZE):
        assert decode_header(whole[:size]) is None


@pytest.mark.parametrize(("magic", "version"), [(b"LOTUSQ\r\n", 2), (b"LOTUSQ\r\n", 0), (b"OTHERONE", 1)])
def test_a_whole_header_of_another_version_or_program_is_not_damage(magic: bytes, version: int) -> None:
    fields = magic + struct.pack("<HH4sIQ16s8s", version, 80, MARKER, 1, 2, ID, KEY)
    with pytest.raises(UnknownFormat, match=f"version {version}"):
        decode_header(fields + struct.pack("<I", crc32(fields)))


def test_markers_differ_and_begin_with_a_byte_that_no_text_and_no_msgpack_has() -> None:
    markers = {new_header(1, KEY).marker for _ in range(100)}
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
    assert [record for _, _, record, _ in found] == bodies[: len(found)]
    end = found[-1][1] if found else 0
    assert is_incomplete(whole[end:size], MARKER) is (end < size)


def test_a_length_no_writer_writes_is_damage_and_not_a_frame_to_come() -> None:
    for length in (MAX_RECORD_SIZE + 1, CARRIED, CARRIED | 23, CARRIED | MAX_RECORD_SIZE + ORIGIN_SIZE + 1):
        header = MARKER + struct.pack("<III", 0, length, 0)
        assert not is_incomplete(header, MARKER)
        assert list(frames(header + bytes(100), MARKER)) == []


def test_the_next_whole_frame_is_found_behind_false_markers() -> None:
    good = encode_frame(MARKER, 9, b"good")
    false = MARKER + b"noise" + MARKER
    assert find_frame(false + good + false, MARKER) == (len(false), 9)
    assert find_frame(false, MARKER) is None


def test_a_marker_and_zeros_are_no_frame() -> None:
    data = MARKER + bytes(100)
    assert list(frames(data, MARKER)) == []
    assert find_frame(data, MARKER) is None
    assert find_last_frame(join([b"one"]) + data, MARKER) == (0, FRAME_HEADER_SIZE + 3, b"one", None)


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
    assert [record for _, _, record, _ in frames(data, MARKER)] == [forged]
    # Also when its own frame is damaged, and a reader searches inside it.
    damaged = data[:5] + bytes([data[5] ^ 1]) + data[6:]
    assert find_frame(damaged, MARKER) is None


# What the end of a segment held


def flip(data: bytes, index: int, bit: int = 0) -> bytes:
    return data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]


@pytest.mark.parametrize(
    "whole", [encode_frame(MARKER, 5, b"the last record"), encode_carried(MARKER, 5, b"the last", (ID, 56))]
)
def test_a_last_frame_with_a_flipped_bit_is_an_event(whole: bytes) -> None:
    for bit in range(8 * len(whole)):
        assert events_at_end(flip(whole, bit // 8, bit % 8), MARKER, 0) == 1, bit


def test_a_torn_last_frame_is_no_event() -> None:
    whole = encode_frame(MARKER, 5, b"the last record")
    for size in range(len(whole)):
        assert not events_at_end(whole[:size], MARKER, 0), size


@pytest.mark.parametrize(
    "tail", [b"", bytes(15), bytes(50), bytes(5000), MARKER, b"garbage", encode_frame(MARKER, 2, b"again")]
)
def test_what_cannot_have_been_an_event_is_none(tail: bytes) -> None:
    assert not events_at_end(tail, MARKER, 0)


@pytest.mark.parametrize("size", [100, 600, 3000])
@pytest.mark.parametrize("offset", [56, 500, 508, 511, 512, 4090])
def test_the_sectors_of_a_frame_that_a_power_cut_has_not_written_are_zeros_and_then_it_is_torn(
    size: int, offset: int
) -> None:
    whole = encode_frame(MARKER, 5, b"x" * size)
    for cut in range(SECTOR - offset % SECTOR, len(whole), SECTOR):
        torn = whole[:cut] + bytes(len(whole) - cut)
        assert events_at_end(torn, MARKER, offset) is None
        assert events_at_end(torn + bytes(1000), MARKER, offset) is None
        assert events_at_end(flip(torn, 0), MARKER, offset) == 1
    assert events_at_end(flip(whole, 20), MARKER, offset) == 1
    assert events_at_end(flip(whole, 20) + bytes(1000), MARKER, offset) == 1


@pytest.mark.parametrize("tail", [b"garbage" * 9, MARKER * 9, bytes(50) + b"x"])
def test_what_can_have_been_an_event_is_one(tail: bytes) -> None:
    assert events_at_end(tail, MARKER, 0) == 1
