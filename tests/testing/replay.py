"""Sends what was once sent to the real servers to a FakeLotus, with ids and times in the place of the masked ones."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lotus_durable.testing import FakeLotus

from .conftest import RawAnswer, RawClient
from .seeds import RUN, add_credits_of_invoices, seed

RECORDED = Path(__file__).with_name("recorded_exchanges.jsonl")
KEY = "prefix.secret"
KEYS = {
    "wrong": "nobodys.key",
    "no dot": "nodot",
    "right prefix, wrong rest": "prefix.wrong",
    "revoked": "revoked.secret",
    "expired": "expired.secret",
}

MASKS = [
    (re.compile(pattern), mask)
    for pattern, mask in (
        (r"datetime\.datetime\((?:[^()]|\([^()]*\))*\)", "<a datetime>"),
        (r"Failing row contains \(.*?\)\.", "Failing row contains <a row>."),
        (RUN, "<r>"),
        (r"\b(plan_version|plan|addon_version|addon_sub|addon|sub|metric|feature|org)_[0-9a-f]{32}\b", r"<\1_id>"),
        (r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b|(?<=_)[0-9a-f]{32}\b", "<id>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(\+00:00)?", "<time.>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\+00:00)?", "<time>"),
        (r"\d{4}-\d\d-\d\d", "<day>"),
    )
]
BLANK = re.compile(r"<([a-zA-Z_]+\.?)>")


@dataclass(frozen=True)
class Exchange:
    generation: str
    call: str
    request: Mapping[str, Any]
    answer: Mapping[str, Any]


def exchanges(generation: str) -> list[Exchange]:
    lines = RECORDED.read_text(encoding="utf-8").splitlines()
    return [one for one in (Exchange(**json.loads(line)) for line in lines) if one.generation == generation]


def masked(text: str) -> str:
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return text


@dataclass
class Clock:
    """The time of the recording, a millisecond later at every look."""

    now: datetime = datetime(2026, 11, 25, 3, 8, 54, 1000, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@dataclass
class World:
    """What stands for the masked parts of the requests; the server's own ids are noted as it makes them."""

    clock: Clock
    names: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def time(self, days: float = 0) -> str:
        return (self.clock.now - timedelta(hours=2) + timedelta(days=days)).isoformat()

    def fill(self, text: str, chosen: Iterator[str | float]) -> str:
        """Fill the blanks of a text by what is chosen, else by their kind."""
        return BLANK.sub(lambda blank: self._blank(blank[1], chosen), text)

    def _blank(self, kind: str, chosen: Iterator[str | float]) -> str:
        if kind == "r":
            return RUN
        what = next(chosen, None)
        if isinstance(what, str):
            return self.events[int(what)] if re.fullmatch(r"-?\d+", what) else self.names[what]
        if kind == "id":
            self.events.append(str(uuid.uuid4()))
            return self.events[-1]
        time = self.time(what or 0)
        time = time if kind.endswith(".") else re.sub(r"\.\d+", "", time)
        return {"day": time[:10], "time": time[:19], "timeZ": time[:19] + "Z", "timeZ.": time[:26] + "Z"}.get(
            kind, time
        )

    def note(self, call: str, answer: RawAnswer) -> None:
        if answer.content_type == "application/json" and isinstance(body := answer.json(), dict):
            for name in ("subscription_uid", "subscription_id", "credit_id"):
                if name in body:
                    self.names[call] = body[name].removeprefix("baladj_")


CHOSEN: Mapping[str, list[str | float]] = {
    # A text is a name (see World), or the number of an event's id from the last on; a number is so many days from now.
    "get_plan": ["limited"],
    "get_plan unknown": ["unknown plan"],
    "create_subscription original-readme form": ["basic", -2000],
    "create_subscription": ["limited", 0],
    "create_subscription overlapping": ["limited", 0],
    "create_subscription other plan too": ["free", 0],
    "create_subscription unknown customer": ["free", 0],
    "create_subscription unknown plan": ["unknown plan", 0],
    "create_subscription future": ["basic", 10],
    "create_subscription end before start": ["both", 0, -1],
    "create_subscription past, ended": ["basic", -60, -30],
    "create_subscription no renew, not new": ["both", 0, 30],
    "create_subscription version_id, metadata, filters": ["limited version", 0],
    "create_subscription unknown version": ["unknown version", 0],
    "create_subscription initial units": ["limited10", 0, "calls"],
    "L22 create_subscription original-readme form": [-2000],
    "L22 create_subscription": [0],
    "L22 create_subscription overlapping": [0],
    "L22 create_subscription other plan too": [0],
    "L22 create_subscription unknown customer": [0],
    "L22 create_subscription future": [10],
    "L22 create_subscription end before start": [0, -1],
    "L22 create_subscription past, ended": [-60, -30],
    "L22 create_subscription no renew, not new": [0, 30],
    "L22 cancel unknown": [],
    "list_subscriptions plan": ["free"],
    "list_subscriptions with addons": ["limited"],
    "access by metric": ["calls"],
    "access by feature id": ["sso"],
    "access by metric unknown": ["unknown metric"],
    "access by feature id unknown": ["unknown feature"],
    "check_metric_access": ["calls"],
    "check_metric_access no subscription": ["calls"],
    "check_metric_access unknown customer": ["calls"],
    "check_feature_access": ["sso"],
    "check_feature_access not": ["sso"],
    "check_feature_access filters": ["sso"],
    "get_customer_metric_access by id": ["calls"],
    "check_metric_access after": ["calls"],
    "verify_idems_received": ["-5", "-4", "-3", "-2", "-1"],
    "verify_idems_received one missing": ["-5", "-4", "-3", "-2", "-1"],
    "update_subscription": ["create_subscription other plan too"],
    "update_subscription end_date": ["create_subscription other plan too", 20],
    "update_subscription end in the past": ["create_subscription other plan too", -1],
    "update_subscription unknown": ["unknown subscription"],
    "attach_addon flat": ["create_subscription", "flat"],
    "attach_addon flat again": ["create_subscription", "flat"],
    "attach_addon recurring by version": ["create_subscription", "recurring version"],
    "attach_addon unknown": ["create_subscription", "unknown addon"],
    "attach_addon a plan": ["create_subscription", "a plan as an addon"],
    "attach_addon unknown subscription": ["unknown subscription", "flat"],
    "check_feature_access by addon": ["premium_support"],
    "check_metric_access by addon": ["extra"],
    "cancel_addon": ["create_subscription", "recurring"],
    "cancel_addon again": ["create_subscription", "recurring"],
    "cancel_addon all words": ["create_subscription", "flat version"],
    "cancel_addon unknown": ["create_subscription", "unknown addon"],
    "switch same plan": ["create_subscription", "limited"],
    "switch other duration": ["create_subscription", "yearly"],
    "switch unknown plan": ["create_subscription", "unknown plan"],
    "switch transfer": ["create_subscription", "limited10"],
    "switch by version, keep separate, later": ["switch transfer", "basic version"],
    "switch ended subscription": ["create_subscription", "basic"],
    "switch unknown subscription": ["unknown subscription", "basic"],
    "cancel unknown": ["unknown subscription"],
    "cancel default": ["create_subscription other plan too"],
    "cancel again": ["create_subscription other plan too"],
    "cancel bill_now False": ["create_subscription no renew, not new"],
    "cancel not started": ["create_subscription future"],
    "cancel not started again": ["create_subscription future"],
    "cancel past": ["create_subscription past, ended"],
    "cancel revoke": ["create_subscription"],
    "cancel revoke again": ["create_subscription"],
    "create_credit": ["far"],
    "create_credit expires before effective": ["long ago"],
    "create_credit future effective": [10],
    "update_credit": ["create_credit"],
    "update_credit expires_at": ["create_credit", "far"],
    "update_credit unknown": ["unknown credit"],
    "update_credit voided": ["create_credit"],
    "void_credit": ["create_credit"],
    "void_credit again": ["create_credit"],
    "void_credit unknown": ["unknown credit"],
    "raw track known id again": ["-1", 0],
    "raw track known id and new": ["-1", 0],
    "raw track same id twice": ["first of two", 0, "first of two", 0],
    "raw track old": ["one more", -40],
    "raw track ahead": ["one more", 3],
}
CONTENT_TYPES = {"raw track charset": "application/json; charset=utf-8"}
TOO_LARGE = {"L22": 2_700_000, "L24": 21_000_000}


def replay(
    generation: str, start: Callable[..., FakeLotus], connect: Callable[..., RawClient]
) -> Iterator[tuple[Exchange, RawAnswer]]:
    """Send every request of a generation in order; give each with what FakeLotus answers."""
    clock = Clock()
    server = start(generation, api_key=KEY, customers=[], now=clock)
    server._state.keys["expired.secret"] = "expired"
    client = connect(server)
    world = World(clock, seed(server))
    for one in exchanges(generation):
        if one.call == "create_credit" and generation == "L24":
            add_credits_of_invoices(server)
        answer = send(one, world, client)
        world.note(one.call, answer)
        yield one, answer


def send(one: Exchange, world: World, client: RawClient) -> RawAnswer:
    world.names["first of two"], world.names["one more"] = str(uuid.uuid4()), str(uuid.uuid4())
    chosen = iter(CHOSEN.get(f"{one.generation} {one.call}", CHOSEN.get(one.call, [])))
    path = world.fill(one.request["path"], chosen)
    body = one.request["body"]
    text = world.fill(body if isinstance(body, str) else json.dumps(body, ensure_ascii=False), chosen)
    sent = text.encode()
    if one.call == "raw track too large":
        sent = sent.ljust(TOO_LARGE[one.generation])
    key = next((KEYS[name] for name in KEYS if one.call.startswith(f"raw {name} key")), KEY)
    return client.request(
        one.request["method"],
        path,
        sent or None,
        key=key if one.request["key"] else None,
        content_type=CONTENT_TYPES.get(one.call, "application/json"),
    )
