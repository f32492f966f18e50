"""An id that was delivered lately: the server of 2022 loses others' events by it, that of 2024 knows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lotus_durable.testing import Faults, Status
from tests.rig import Rig, track

SAYS_NOTHING = Faults(path="/api/ping/", rates={Status(503): 1.0})


@pytest.mark.parametrize(
    ("generation", "faults", "sent"),
    [("L22", Faults(), 1), ("L24", Faults(), 2), ("L24", SAYS_NOTHING, 1)],
    ids=["2022", "2024", "not known"],
)
def test_an_id_that_was_delivered_lately_is_sent_again_only_to_a_server_that_knows_its_ids(
    rigs: Callable[..., Rig], generation: str, faults: Faults, sent: int
) -> None:
    rig = rigs(generation, faults=faults)
    client = rig.client()
    track(client, 1, idempotency_id="the same")
    assert client.drain(20).delivered == 1
    track(client, 1, idempotency_id="the same")
    assert client.drain(20).delivered == 1
    assert rig.server.times_received["the same"] == sent
    assert rig.check(["the same", "the same"]).delivered == 2


def test_a_repeat_among_others_is_settled_with_them_and_they_are_sent(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L22")
    client = rig.client()
    first = track(client, 3)
    assert client.drain(20).complete
    again = [track(client, 1, idempotency_id=each)[0] for each in first[:2]]
    others = track(client, 3)
    assert client.drain(20).delivered == 5
    assert set(rig.server.times_received) == {*first, *others}
    assert set(rig.server.times_received.values()) == {1}
    rig.check([*first, *again, *others])
