"""What stands in a message, and what does not."""

from __future__ import annotations

from zlib import crc32

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lotus_durable.relay.message import VERSION, Events, LaterVersion, NotOurs, decode, mark

WHOLE = Events(b"k" * 8, [b"one", b"two"]).encode()


def test_what_is_encoded_is_read_back() -> None:
    events = decode(WHOLE)
    assert (events.key, events.records) == (b"k" * 8, [b"one", b"two"])


def test_a_mark_has_no_events_and_is_like_no_other_one() -> None:
    assert not decode(mark()).records
    assert mark() != mark()


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
@example(5, VERSION)
def test_no_changed_byte_goes_unseen(place: int, change: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= change
    with pytest.raises((NotOurs, LaterVersion)):
        decode(bytes(damaged))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_part_of_one_is_none(size: int) -> None:
    with pytest.raises(NotOurs):
        decode(WHOLE[:size])


@given(st.binary())
def test_other_bytes_are_said_to_be_none_or_of_a_later_version(body: bytes) -> None:
    with pytest.raises((NotOurs, LaterVersion)):
        decode(body)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"", []],
        [b"k" * 8, ["text"]],
        [b"k" * 8, {}],
        ["k" * 8, [b"one"]],
        {"a": 1},
        7,
    ],
)
def test_ours_with_other_fields_is_none(fields: object) -> None:
    content = msgpack.packb(fields)
    with pytest.raises(NotOurs, match="it has other fields"):
        decode(WHOLE[:6] + crc32(content).to_bytes(4, "little") + content)
