"""How one batch comes to its verdicts: what is sent, what is waited for, in what order. No sockets, no clock."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, cast

import pytest

from lotus_durable.clock import since_boot
from lotus_durable.config import Config
from lotus_durable.delivery.batch import Batch, Encoded
from lotus_durable.delivery.control import Control, Renewed, Stopped
from lotus_durable.delivery.lotus import Lotus
from lotus_durable.delivery.outcome import Delivered, Failing, Parked, Retry, Verdict
from lotus_durable.delivery.unsettled import UnsettledIds
from lotus_durable.errors import LotusError
from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.backoff import Backoff
from lotus_durable.http.connection import Connection, Exchange
from lotus_durable.http.steps import result_of
from lotus_durable.queue.reader import Chunk
from lotus_durable.queue.stats import FlusherState
from tests.rig import record

PROBE_INTERVAL = 60.0
KAFKA = "Failed to produce event to kafka: NOT_LEADER"


def answer(status: int, body: object, **options: Any) -> Answer:
    return Answer(status, "application/json", json.dumps(body).encode(), **options)


def html(status: int, **options: Any) -> Answer:
    return Answer(status, "text/html", b"<h1>Oh</h1>", **options)


ALL = answer(201, {"success": "all", "failed_events": None})
PROBE_OK = answer(400, {"success": "none", "failed_events": {}})
BAD_KEY = answer(400, {"message": "Invalid API key"})
INVALID_JSON = answer(400, {"success": "none", "failed_events": {"no_idempotency_id": "Invalid JSON"}})
TIMEOUT = NoAnswer("no answer", timed_out=True, sent=True)
REFUSED = NoAnswer("connection refused")

Server = Callable[[list[str]], Answer | NoAnswer]
"""Answers a batch of these ids; the probe has none."""


@dataclass
class FakeConnection:
    """Hands each batch's ids to a function."""

    server: Server
    sent: list[list[str]] = field(default_factory=list)

    def exchanging(self, method: str, target: str, body: bytes, *, idle_at_most: float) -> Exchange:
        assert (method, target) == ("POST", "/api/track/")
        assert idle_at_most in (1.0, inf)
        self.sent.append([event["idempotency_id"] for event in json.loads(body)["batch"]])
        yield
        return self.server(self.sent[-1])


@dataclass
class FakeSteps:
    """Writes down what it is told; waiting takes no time."""

    waits: list[tuple[float, bool]] = field(default_factory=list)
    states: list[tuple[FlusherState, str | None]] = field(default_factory=list)
    answered: set[int] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    key_refusals: int = 0
    doubts: int = 0
    marks: UnsettledIds = field(default_factory=UnsettledIds)
    reaches: list[bool] = field(default_factory=list)
    stop_after: int = 1000
    """Waits until it is time to end."""

    def enter(self, state: FlusherState, reason: str | None = None) -> bool:
        is_news = not self.states or self.states[-1] != (state, reason)
        if is_news:
            self.states.append((state, reason))
        return is_news

    def hold(self, reason: str, seconds: float, *, asked: int) -> None:
        self.enter("blocked", reason)
        self.answer(asked, reason)
        self.wait(seconds, asked=asked)

    def key_is_refused(self) -> None:
        self.key_refusals += 1

    @contextlib.contextmanager
    def request(self, *, is_question: bool = False) -> Iterator[None]:
        del is_question
        yield

    def reached(self, *, server: bool) -> None:
        self.reaches.append(server)

    def sends(self, ids: Sequence[str]) -> tuple[list[str], bool]:
        return self.marks.add(ids)

    def does_not_have(self, ids: Iterable[str]) -> None:
        self.marks.discard(ids)

    def in_doubt(self, since: float) -> None:
        assert since <= since_boot()
        self.doubts += 1

    def asked(self) -> int:
        return len(self.waits)

    def answer(self, number: int, reason: str | None = None) -> None:
        assert reason is not None
        self.answered.add(number)

    def report(self, error: LotusError) -> None:
        self.told.append(str(error))

    def wait(self, seconds: float, *, asked: int | None = None) -> None:
        self.waits.append((seconds, asked is not None))
        if len(self.waits) >= self.stop_after:
            raise Stopped


class Scene:
    def __init__(self, server: Server, *, stop_after: int = 1000, generation: str = "2024") -> None:
        self.connection = FakeConnection(server)
        self.steps = FakeSteps(stop_after=stop_after)
        self._place = Lotus(
            cast("Connection", self.connection),
            cast("Control", self.steps),
            Config("/nowhere"),
            generation=generation,
            is_another=lambda: None,
            backoff=Backoff(chance=lambda: 1.0),
        )

    def send(self, *ids: str) -> list[Verdict]:
        batch, chunk = Batch(), Chunk("", [*map(record, ids)], range(len(ids)))
        batch.extend(Encoded(chunk, self._place.encode), 0, len(ids))
        return [*result_of(self._place.deliver(batch))]

    @property
    def sent(self) -> list[str]:
        return [" ".join(ids) or "probe" for ids in self.connection.sent]

    @property
    def seconds(self) -> list[float]:
        return [seconds for seconds, _ in self.steps.waits]


def script(*answers: Answer | NoAnswer, then: Answer | NoAnswer = ALL) -> Server:
    left = list(answers)
    return lambda _: left.pop(0) if left else then


def failing_on(*poisonous: str, with_: Answer | NoAnswer) -> Server:
    """Fail for each batch that holds one of these; pass probes."""
    return lambda ids: with_ if set(ids) & set(poisonous) else ALL if ids else PROBE_OK


def letters(count: int) -> list[str]:
    return [f"e{number}" for number in range(count)]


def test_an_empty_batch_is_not_sent() -> None:
    scene = Scene(script())
    assert scene.send() == []
    assert scene.sent == []


def test_the_very_same_ids_go_again_after_an_outage_with_growing_waits() -> None:
    scene = Scene(script(REFUSED, html(503), html(502)))
    assert scene.send("a", "b") == [Delivered()] * 2
    assert scene.sent == ["a b"] * 4
    assert scene.seconds == [0.5, 1.0, 2.0]
    assert ("retrying", "connection refused") in scene.steps.states


def test_a_success_makes_the_next_wait_short_again() -> None:
    scene = Scene(script(REFUSED, REFUSED, ALL, REFUSED))
    scene.send("a")
    scene.send("b")
    assert scene.seconds == [0.5, 1.0, 0.5]


def test_a_wait_the_server_asks_for_is_kept_and_a_drain_does_not_shorten_it() -> None:
    scene = Scene(script(html(429, retry_after=7.0)))
    scene.send("a")
    assert scene.steps.waits == [(7.5, False)]


def test_a_drain_may_shorten_a_wait_that_is_our_own() -> None:
    scene = Scene(script(html(503)))
    scene.send("a")
    assert scene.steps.waits == [(0.5, True)]


def test_a_server_that_may_still_be_at_work_is_left_alone_for_several_seconds() -> None:
    scene = Scene(script(TIMEOUT))
    scene.send("a")
    assert scene.steps.waits == [(8.5, False)]


FIREWALL = html(403)
CLOSED = NoAnswer("closed before answering", sent=True)
ABOUT_A_BATCH = [
    *(html(code) for code in (200, 302, 403, 404, 405, 406, 413, 415, 422, 431, 451, 463, 494, 495, 501)),
    Answer(400, "text/html", b"<h1>Bad Request (400)</h1>"),
    answer(400, {"reason": "blocked by policy"}),
]
AFTER_SOME_TRIES = [*(html(code) for code in (408, 429, 460, 500, 502, 503, 520, 521, 525, 530)), CLOSED]


@pytest.mark.parametrize("outcome", [INVALID_JSON, *ABOUT_A_BATCH], ids=lambda each: f"{each.status} {each.body!r}")
def test_one_poisonous_event_of_500_is_found_by_halves_and_nothing_waits_for_it(outcome: Answer) -> None:
    ids = letters(500)
    scene = Scene(failing_on("e137", with_=outcome))
    verdicts = scene.send(*ids)
    assert [number for number, verdict in enumerate(verdicts) if verdict != Delivered()] == [137]
    found = verdicts[137]
    assert isinstance(found, Failing) if outcome is INVALID_JSON else isinstance(found, Parked) and found.unproven
    assert scene.steps.waits == []
    assert len(scene.sent) <= 3 * 10


@pytest.mark.parametrize("outcome", AFTER_SOME_TRIES, ids=str)
def test_what_mostly_is_an_outage_is_about_a_batch_only_when_it_comes_again_and_again_while_probes_pass(
    outcome: Answer | NoAnswer,
) -> None:
    scene = Scene(failing_on("e137", with_=outcome))
    verdicts = scene.send(*letters(500))
    assert [number for number, verdict in enumerate(verdicts) if verdict != Delivered()] == [137]
    assert isinstance(verdicts[137], Failing | Parked)
    assert len(scene.sent) <= 4 * 10
    assert sum(scene.seconds) < 3 * 60


def test_a_connection_that_cannot_be_made_is_never_about_a_batch() -> None:
    scene = Scene(lambda ids: REFUSED if ids else PROBE_OK, stop_after=30)
    with pytest.raises(Stopped):
        scene.send("a", "b")
    assert set(scene.sent) == {"a b"}


@pytest.mark.parametrize("outcome", [*ABOUT_A_BATCH, *AFTER_SOME_TRIES], ids=str)
def test_three_events_in_a_row_refused_while_probes_pass_mean_that_it_is_the_way(outcome: Answer | NoAnswer) -> None:
    scene = Scene(lambda ids: outcome if ids else PROBE_OK)
    with pytest.raises(Renewed):
        scene.send(*letters(100))
    state, reason = scene.steps.states[-1]
    assert state == "blocked"
    assert "refused while an empty request passes" in str(reason)
    assert scene.steps.answered
    assert scene.seconds[-1] == PROBE_INTERVAL


def test_three_refused_events_beside_each_other_are_not_taken_for_the_way_where_others_pass() -> None:
    scene = Scene(failing_on("e0", "e1", "e2", "e3", with_=FIREWALL))
    verdicts = scene.send(*letters(100))
    assert [number for number, verdict in enumerate(verdicts) if verdict != Delivered()] == [0, 1, 2, 3]


def test_refused_events_of_several_batches_in_a_row_count_together() -> None:
    scene = Scene(lambda ids: FIREWALL if ids else PROBE_OK)
    for name in ("a", "b"):
        [verdict] = scene.send(name)
        assert isinstance(verdict, Parked)
    with pytest.raises(Renewed):
        scene.send("c")


def test_a_batch_that_is_answered_like_the_probe_is_never_taken_apart() -> None:
    scene = Scene(lambda _: PROBE_OK, stop_after=5)
    with pytest.raises(Stopped):
        scene.send("a", "b")
    assert set(scene.sent) == {"a b", "probe"}
    assert ("blocked", True) in [(state, "gives no reason" in str(reason)) for state, reason in scene.steps.states]


def test_a_wrong_key_blocks_everything_and_nothing_is_taken_apart() -> None:
    scene = Scene(lambda _: BAD_KEY, stop_after=5)
    with pytest.raises(Stopped):
        scene.send("a", "b")
    assert scene.sent[0] == "a b"
    assert set(scene.sent[1:]) == {"probe"}


@pytest.mark.parametrize(
    "outcome", [TIMEOUT, CLOSED, *(html(code) for code in (502, 503, 504, 520, 522, 524))], ids=str
)
def test_after_any_doubt_nothing_is_sent_to_the_server_of_2022_before_it_can_have_ended(
    outcome: Answer | NoAnswer,
) -> None:
    scene = Scene(script(outcome, outcome, PROBE_OK), generation="2022")
    scene.send("a")
    assert scene.steps.doubts == 2
    assert len([seconds for seconds in scene.seconds if 37.0 < seconds <= 38.0]) == 2


@pytest.mark.parametrize("outcome", [REFUSED, html(429), html(500), html(521), html(525)], ids=str)
def test_what_leaves_no_doubt_is_tried_again_soon_on_the_server_of_2022_too(outcome: Answer | NoAnswer) -> None:
    scene = Scene(script(outcome), generation="2022")
    scene.send("a")
    assert scene.steps.doubts == 0
    assert scene.seconds == [0.5]


def test_what_a_killed_flusher_sent_to_the_server_of_2022_comes_again_only_when_an_insert_must_be_over() -> None:
    scene = Scene(script(), generation="2022")
    scene.steps.marks.add(["b"])
    scene.send("a")
    assert scene.seconds == []
    scene.send("b", "c")
    [pause] = scene.seconds
    assert 7.0 < pause <= 8.0


@pytest.mark.parametrize("outcome", [html(413), html(429), REFUSED], ids=str)
def test_what_the_server_of_2022_did_not_take_is_no_repeat(outcome: Answer | NoAnswer) -> None:
    scene = Scene(script(outcome), generation="2022")
    scene.send("a", "b")
    assert all(seconds < 7.0 for seconds in scene.seconds)


def test_who_waits_for_what_only_a_person_can_mend_is_told_at_once_and_it_is_tried_again_all_the_same() -> None:
    scene = Scene(script(NoAnswer("a certificate", needs_person=True), REFUSED))
    assert scene.send("a") == [Delivered()]
    assert scene.steps.answered == {0}
    assert scene.seconds == [0.5, 1.0]


def test_a_server_that_asks_to_be_left_alone_for_long_is_told_with_the_time() -> None:
    scene = Scene(script(html(429, retry_after=3600.0)))
    scene.send("a")
    assert scene.steps.answered
    assert "the next try is at 20" in str(scene.steps.states[1][1])


def test_events_are_sent_in_their_order_whatever_is_split() -> None:
    ids = letters(16)
    scene = Scene(failing_on("e5", with_=INVALID_JSON))
    scene.send(*ids)
    # The last request that held an event is the one that settled it.
    settled = {each: number for number, batch in enumerate(scene.connection.sent) for each in batch}
    assert [settled[each] for each in ids] == sorted(settled[each] for each in ids)


def test_a_single_event_that_any_request_might_have_been_refused_like_is_parked_only_if_a_probe_passes() -> None:
    too_large = html(413)
    scene = Scene(script(too_large, BAD_KEY, PROBE_OK, too_large, PROBE_OK))
    [verdict] = scene.send("a")
    assert isinstance(verdict, Parked)
    assert verdict.unproven
    assert scene.sent == ["a", "probe", "probe", "a", "probe"]
    assert PROBE_INTERVAL in scene.seconds


def test_a_500_is_first_taken_for_an_outage() -> None:
    scene = Scene(script(html(500)))
    assert scene.send("a", "b") == [Delivered()] * 2
    assert scene.sent == ["a b", "a b"]
    assert scene.seconds == [0.5]


def test_a_500_that_comes_back_while_probes_fail_too_is_an_outage_and_nothing_is_split() -> None:
    scene = Scene(lambda _: html(500), stop_after=30)
    with pytest.raises(Stopped):
        scene.send("a", "b")
    assert set(scene.sent) == {"a b", "probe"}
    assert scene.seconds[-1] == 60.0


def test_a_500_that_comes_back_while_probes_pass_is_looked_for_by_halves_with_hardly_a_wait() -> None:
    ids = letters(500)
    scene = Scene(failing_on("e499", with_=html(500)))
    verdicts = scene.send(*ids)
    assert [number for number, verdict in enumerate(verdicts) if verdict != Delivered()] == [499]
    assert isinstance(verdicts[499], Failing)
    assert scene.seconds == [0.5, 0.5]
    assert len(scene.sent) <= 2 + 3 * 10


def test_while_probes_pass_no_wait_grows_however_many_events_are_refused() -> None:
    scene = Scene(failing_on("b", "c", with_=html(500)))
    scene.send("a", "b", "c", "d")
    assert set(scene.seconds) == {0.5}


def test_an_event_the_server_gives_no_answer_to_is_parked_and_never_given_up_for_its_attempts() -> None:
    scene = Scene(failing_on("b", with_=TIMEOUT))
    assert scene.send("a", "b", "c") == [Delivered(), Parked("no answer", unlisted=True, unproven=True), Delivered()]
    assert all(seconds >= 8.0 for seconds in scene.seconds)


def test_events_the_broker_does_not_take_go_again_and_are_parked_at_last() -> None:
    scene = Scene(lambda ids: answer(201, {"success": "some", "failed_events": dict.fromkeys({"b"} & set(ids), KAFKA)}))
    assert scene.send("a", "b", "c") == [Delivered(), Retry(KAFKA), Delivered()]
    assert scene.sent == ["a b c", *["b"] * 5]
    assert scene.seconds == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_broker_that_recovers_gets_only_what_it_did_not_take() -> None:
    scene = Scene(script(answer(201, {"success": "some", "failed_events": {"a": KAFKA, "c": KAFKA}})))
    assert scene.send("a", "b", "c") == [Delivered()] * 3
    assert scene.sent == ["a b c", "a c"]


def test_blocked_means_slow_probes_of_the_empty_batch_and_events_only_once_those_pass() -> None:
    scene = Scene(script(BAD_KEY, BAD_KEY, BAD_KEY, PROBE_OK))
    assert scene.send("a", "b") == [Delivered()] * 2
    assert scene.sent == ["a b", "probe", "probe", "probe", "a b"]
    assert scene.seconds == [PROBE_INTERVAL] * 2
    assert scene.steps.key_refusals == 2
    assert [state for state, _ in scene.steps.states] == ["sending", "blocked", "sending"]
    assert str(scene.steps.states[1][1]).startswith("the server refuses the API key")


def test_a_request_for_a_drain_is_answered_by_what_was_sent_after_it() -> None:
    scene = Scene(script(BAD_KEY, BAD_KEY, BAD_KEY, PROBE_OK))
    scene.send("a")
    assert scene.steps.answered == {0, 1}


def test_a_new_reason_for_being_blocked_is_told_too() -> None:
    scene = Scene(script(BAD_KEY, BAD_KEY, html(404), html(404), PROBE_OK))
    scene.send("a")
    reasons = [str(reason) for state, reason in scene.steps.states if state == "blocked"]
    assert len(reasons) == 2
    assert "not an answer of Lotus" in reasons[1]


def test_an_outage_during_a_block_is_an_outage() -> None:
    scene = Scene(script(BAD_KEY, BAD_KEY, html(503), html(503)))
    scene.send("a")
    assert [state for state, _ in scene.steps.states] == ["sending", "blocked", "sending", "retrying", "sending"]


@pytest.mark.parametrize("status", [402, 407, 418, 501, 511, 529])
def test_who_waits_for_a_drain_is_told_at_once_of_an_answer_nobody_knows_and_it_is_tried_again_slowly(
    status: int,
) -> None:
    scene = Scene(script(*[html(status)] * 4))
    scene.send("a")
    assert scene.sent == ["a", "probe", "probe", "probe", "probe", "a"]
    assert scene.steps.waits == [(PROBE_INTERVAL, True)] * 3
    assert scene.steps.answered == {0, 1, 2}
    assert f"an answer we do not know (HTTP {status}" in str(scene.steps.states[1])


@pytest.mark.parametrize(("status", "may_be_at_work"), [(529, True), (599, True), (501, False), (511, False)])
def test_an_answer_nobody_knows_may_come_while_the_server_of_2022_is_at_work(status: int, may_be_at_work: bool) -> None:
    scene = Scene(script(html(status)), generation="2022")
    scene.send("a")
    assert scene.steps.doubts == may_be_at_work


def test_nothing_counts_when_it_is_time_to_end_before_all_have_a_verdict() -> None:
    scene = Scene(script(INVALID_JSON, ALL, then=REFUSED), stop_after=1)
    with pytest.raises(Stopped):
        scene.send("a", "b")


def test_each_answer_in_any_order_ends_with_a_verdict_for_each_event_or_with_waiting() -> None:
    """Whatever a server does, no request follows another for ever without a wait."""
    every: Sequence[Answer | NoAnswer] = [
        ALL, PROBE_OK, BAD_KEY, INVALID_JSON, TIMEOUT, REFUSED, *(html(code) for code in (200, 404, 413)),
        html(418), html(500), html(503),
        answer(201, {"success": "some", "failed_events": {"stranger": "Customer does not exist"}}),
        answer(400, {"success": "none", "failed_events": {"a": KAFKA}}),
        answer(201, {"success": "some", "failed_events": {}}),
    ]  # fmt: skip
    for to_events in every:
        for to_probe in every:
            scene = Scene(lambda ids, e=to_events, p=to_probe: e if ids else p, stop_after=50)  # type: ignore[misc]
            try:
                assert len(scene.send("a", "b", "c")) == 3
            except Stopped:
                assert len(scene.sent) < 50 * 10
