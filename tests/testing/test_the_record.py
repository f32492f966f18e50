"""FakeLotus answers what the real servers answered: 365 exchanges with them, recorded in 2026, are sent to it again.

Compared are status, content type and body, ids and times masked. Where a request had a part that the recording masked
too, :mod:`tests.testing.replay` says what it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lotus_durable.testing import FakeLotus

from .conftest import RawAnswer, RawClient
from .replay import Exchange, exchanges, masked, replay

DIFFERENT = {
    ("L24", "raw expired key GET /api/customers/"): "FakeLotus writes no invoices, and the real list had them by then",
}
"""By generation and call: why FakeLotus answers something else."""
SORTED_BY_OWN_IDS = {"list_subscriptions", "raw subscriptions list no customer"}
"""Of L22: in the order of ids that the server draws at random."""
CUT_AT = 6000
"""The recording keeps so many characters of a body."""


def test_all_365_exchanges_are_there() -> None:
    assert [len(exchanges(generation)) for generation in ("L22", "L24")] == [135, 230]


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_every_recorded_request_is_answered_as_it_was(
    generation: str, start: Callable[..., FakeLotus], connect: Callable[..., RawClient]
) -> None:
    different = {}
    for one, answer in replay(generation, start, connect):
        found = difference(one, answer)
        if found is not None:
            different[generation, one.call] = found
    expected = {name for name in DIFFERENT if name[0] == generation}
    unexpected = {name: found for name, found in different.items() if name not in expected}
    assert unexpected == {}
    assert expected <= different.keys(), "these do not differ any more"


def difference(one: Exchange, answer: RawAnswer) -> Any:
    """Return what was recorded and what was answered, where they differ."""
    recorded = (one.answer["status"], one.answer["content_type"])
    if recorded != (answer.status, answer.content_type):
        return recorded, (answer.status, answer.content_type, answer.body.decode())
    text, body = masked(answer.body.decode()), one.answer["body"]
    if isinstance(body, str):
        is_cut = len(body) == CUT_AT
        return None if (text[:CUT_AT] if is_cut else text) == masked(body) else (body, text)
    answered, wanted = json.loads(text), json.loads(masked(json.dumps(body)))
    if one.generation == "L22" and one.call in SORTED_BY_OWN_IDS:
        answered, wanted = sorted(answered, key=json.dumps), sorted(wanted, key=json.dumps)
    # As text: to Python 0, 0.0 and False are equal.
    is_same = json.dumps(answered, sort_keys=True) == json.dumps(wanted, sort_keys=True)
    return None if is_same else (wanted, answered)
