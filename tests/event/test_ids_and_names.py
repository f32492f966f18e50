from __future__ import annotations

import os
import uuid
from decimal import Decimal
from enum import IntEnum, StrEnum

import pytest

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.encoder import MAX_EVENT_NAME_2022, EventEncoder

from .encoding import LIMIT, encode, encoded


class Name(StrEnum):
    API_CALL = "api_call"


class Level(IntEnum):
    HIGH = 3


class Whole(int):
    def __str__(self) -> str:
        return "something else"


@pytest.mark.parametrize(
    ("field", "given", "becomes"),
    [
        ("customer_id", " ", " "),
        ("customer_id", "ü/..\n🎉", "ü/..\n🎉"),
        ("customer_id", "c" * 50, "c" * 50),
        ("customer_id", "ü" * 50, "ü" * 50),
        ("customer_id", Name.API_CALL, "api_call"),
        ("event_name", "n" * 100, "n" * 100),
        ("event_name", "ü" * 100, "ü" * 100),
        ("event_name", Name.API_CALL, "api_call"),
        ("idempotency_id", "i" * 255, "i" * 255),
        ("idempotency_id", Name.API_CALL, "api_call"),
    ],
)
def test_ids_and_names_are_kept_as_they_are(encoder: EventEncoder, field: str, given: str, becomes: str) -> None:
    result = getattr(encoded(encoder, **{field: given}), field)
    assert (result, type(result)) == (becomes, str)


@pytest.mark.parametrize("field", ["customer_id", "event_name", "idempotency_id"])
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "must not be empty"),
        (5.0, "must be a str, not float; pass str("),
        (True, "must be a str, not bool; pass str("),
        (Decimal(5), "must be a str, not Decimal; pass str("),
        (uuid.UUID(int=1), "must be a str, not UUID"),
        (b"id", "must be a str, not bytes"),
        (["id"], "must be a str, not list"),
        ("a\0b", "NUL character"),
        ("\0", "NUL character"),
        ("a\ud800", "lone surrogate"),
    ],
)
def test_an_id_or_a_name_the_servers_cannot_store_is_refused(
    encoder: EventEncoder, field: str, given: object, reason: str
) -> None:
    with pytest.raises(InvalidEvent) as caught:
        encode(encoder, **{field: given})
    assert caught.value.field == field
    assert reason in caught.value.reason


@pytest.mark.parametrize("field", ["customer_id", "event_name"])
def test_the_customer_and_the_name_are_required(encoder: EventEncoder, field: str) -> None:
    with pytest.raises(InvalidEvent, match=f"^{field}: is required$"):
        encode(encoder, **{field: None})


@pytest.mark.parametrize(
    ("field", "bound", "reason"),
    [
        ("customer_id", 50, "the server of 2024 stores at most 50"),
        ("event_name", 100, 'the server of 2024 stores at most 100, and 200 with api_version="2022"'),
        ("idempotency_id", 255, "the servers store at most 255"),
    ],
)
def test_a_text_longer_than_the_servers_store_is_refused(
    encoder: EventEncoder, field: str, bound: int, reason: str
) -> None:
    with pytest.raises(InvalidEvent) as caught:
        encode(encoder, **{field: "x" * (bound + 1)})
    assert (caught.value.field, caught.value.reason) == (field, f"has {bound + 1} characters; {reason}")


def test_names_of_up_to_200_characters_are_taken_where_the_server_is_known_to_be_of_2022() -> None:
    encoder = EventEncoder(LIMIT, MAX_EVENT_NAME_2022)
    assert encoded(encoder, event_name="n" * 200).event_name == "n" * 200
    with pytest.raises(InvalidEvent, match=r"^event_name: has 201 characters; the servers store at most 200$"):
        encode(encoder, event_name="n" * 201)


@pytest.mark.parametrize("field", ["event_name", "idempotency_id"])
def test_a_number_is_no_name_and_no_idempotency_id(encoder: EventEncoder, field: str) -> None:
    with pytest.raises(InvalidEvent, match=rf"^{field}: must be a str, not int; pass str\({field}\)"):
        encode(encoder, **{field: 5})


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        (42, "42"),
        (0, "0"),
        (-7, "-7"),
        (10**50 - 1, "9" * 50),
        (Level.HIGH, "3"),
        (Whole(42), "42"),
    ],
)
def test_a_whole_number_is_a_customer_id_as_its_digits(encoder: EventEncoder, given: int, becomes: str) -> None:
    result = encoded(encoder, customer_id=given).customer_id
    assert (result, type(result)) == (becomes, str)


@pytest.mark.parametrize(
    ("given", "length"),
    [(10**50, "more than 50"), (-(10**49), "51"), pytest.param(10**5_000, "more than 50", id="5,001 digits")],
)
def test_a_customer_id_of_too_many_digits_is_refused(encoder: EventEncoder, given: int, length: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        encode(encoder, customer_id=given)
    assert str(caught.value) == f"customer_id: has {length} characters; the server of 2024 stores at most 50"


def test_a_bool_of_numpy_is_named_as_what_it_is() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(InvalidEvent, match=r"^customer_id: must be a str, not numpy\.bool"):
        encode(EventEncoder(LIMIT), customer_id=numpy.bool_(True))


def test_a_name_is_checked_whatever_the_name_before_it_was(encoder: EventEncoder) -> None:
    long = "n" * 101
    for name in ("api_call", "api_call", "other", "api_call"):
        assert encoded(encoder, event_name=name).event_name == name
        for bad in (None, "", long, long, "a\0", "\ud800", "\ud800", 5):
            with pytest.raises(InvalidEvent, match=r"^event_name: "):
                encode(encoder, event_name=bad)


def test_ids_are_random_uuids_and_no_two_are_the_same(encoder: EventEncoder) -> None:
    ids = [encode(encoder)[0] for _ in range(5_000)]
    assert len(set(ids)) == 5_000
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(4, uuid.RFC_4122)}
    assert all(str(uuid.UUID(each)) == each for each in ids)
    assert len({each[:24] for each in ids}) == 5_000


def test_two_copies_of_a_process_never_give_one_id_to_two_events(encoder: EventEncoder) -> None:
    """A virtual machine that is cloned while it runs: nothing tells the encoder, as its owner tells it after a fork."""
    given = {encode(encoder)[0]}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, " ".join(encode(encoder)[0] for _ in range(100)).encode())
        os._exit(0)
    given |= {encode(encoder)[0] for _ in range(100)}
    os.close(writer)
    with open(reader) as theirs:
        others = theirs.read().split()
    assert os.waitpid(child, 0)[1] == 0
    assert len(set(others)) == 100
    assert {each[:24] for each in others} & {each[:24] for each in given}, "they were drawn before"
    assert not given & set(others)
