"""The server of 2024-02: nginx in front, a Go service for ``/api/track*``, Django for the rest of ``/api/``.

Go decodes a body as a whole into typed fields: one value of a wrong type refuses the whole batch as "Invalid JSON".
Everything else is judged event by event, and duplicates are found later, out of sight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, NoReturn, TypeVar
from urllib.parse import parse_qs

from lotus_durable.testing.accounts import Component, Subscription
from lotus_durable.testing.database import Database, time_of
from lotus_durable.testing.exchange import Answer, Request, nginx_page
from lotus_durable.testing.forms import Refused, error
from lotus_durable.testing.generation import Answered, Blanks, Call, json_of
from lotus_durable.testing.l24_billing import Billing

OLDEST = timedelta(days=30)
NEWEST = timedelta(days=1)
NO_ID = "no_idempotency_id"
TOO_FAR = (
    "Time created too far in the past or future. Events must be within 30 days before or 1 day ahead of current time."
)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_T = TypeVar("_T")
_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)
_TYPES: dict[str, type] = {"idempotency_id": str, "customer_id": str, "event_name": str, "properties": dict}
_TEXT_KEY_ERRORS = re.compile("/api/(customer_)?(metric|feature)_access/")
"""These look at the key themselves and say as text what is wrong with it."""
_EXPIRED_IS_WRONG = {"/api/ping/", "/api/verify_idems_received/"}
"""Of Django's paths these alone refuse a key that has expired."""
_NO_KEY_NEEDED = {"/api/healthcheck/"}


class L24(Billing):
    """Answers of 2024."""

    name = "L24"
    database: ClassVar[type[Database]] = Database
    max_body = 20 * 1024 * 1024  # nginx's limit

    def admit(self, request: Request, methods: Collection[str]) -> None:
        if max(request.content_length or 0, len(request.body)) > self.max_body_bytes:
            raise Answered(nginx_page(413))
        if request.path.startswith("/api/") and not request.path.startswith("/api/track"):
            self._admit_to_django(request, methods)
            return
        # The Go service asks for the key first, whatever the path, and looks only at what stands before its dot.
        prefixes = {key.partition(".")[0]: state for key, state in self.state.keys.items()}
        presented = request.headers.get("x-api-key", "")
        state = prefixes.get(presented.partition(".")[0], "unknown") if presented else "missing"
        self.refuse_if(state != "valid", f"track {state} key")
        self.refuse_if(not methods, "track no slash")
        self.refuse_if(request.method not in methods, "track GET")

    def _admit_to_django(self, request: Request, methods: Collection[str]) -> None:
        self.find_or_redirect(request, methods)
        state = self.key_state(request)
        if (state == "expired" and request.path not in _EXPIRED_IS_WRONG) or request.path in _NO_KEY_NEEDED:
            state = "valid"
        says_text = _TEXT_KEY_ERRORS.fullmatch(request.path)
        self.refuse_if(state != "valid", f"text {state} key" if says_text else "wrong key")
        self.refuse_if(request.method not in methods, "no such method", method=request.method)

    def answer_to(self, refused: Refused) -> Answer:
        """As RFC 7807 problems, the first error on top."""
        first = refused.errors[0]
        if refused.is_about_fields:
            errors = [one._asdict() for one in refused.errors]
            return self.record.answer("invalid", title=first.code, detail=first.detail, errors=errors)
        kind = "server-error" if refused.status >= 500 else "client-error"  # noqa: PLR2004
        return self.record.answer("refused", refused.status, kind=kind, title=first.code, detail=first.detail)

    def track(self, call: Call) -> Answer:
        """Take what the rules accept and name what they refuse."""
        try:
            batch = [_decode_event(event) for event in _decode_batch(call.request)]
        except (TypeError, ValueError, RecursionError):
            return self.record.answer("track none", failed={NO_ID: "Invalid JSON"})
        now = self.state.now()
        accepted: list[tuple[str, dict[str, Any]]] = []
        failed: dict[str, str] = {}
        for event, time_created in batch:
            id_ = event.get("idempotency_id") or ""
            reason = _why_refused(event, id_, time_created, now) or call.refuse(id_)
            if reason is None:
                accepted.append((id_, event))
            else:
                failed[id_ or NO_ID] = reason
        self.state.accept(accepted, call.seen)
        return self.verdict(dict(sorted(failed.items())), of=len(batch))

    # Access

    def customer_metric_access(self, call: Call) -> Blanks:
        found = [
            {
                "subscription": one,
                "components": [
                    {"component": component, "usage": self._usage(component, one) or 0}
                    for component in one.plan.components
                    if component.event_name == call.event_name
                    or (call.metric_id and component.metric_id == call.metric_id.metric_id)
                ],
            }
            for one in self._asked_for(call)
        ]
        return {"found": found}

    def customer_feature_access(self, call: Call) -> Blanks:
        found = [
            {"subscription": one, "access": call.feature_name in {each.feature_name for each in one.plan.features}}
            for one in self._asked_for(call)
        ]
        return {"found": found}

    def metric_access(self, call: Call) -> Blanks:
        """Access: some subscription is below its limit, or has none; one without this metric counts as that too."""
        found = [self._metric_in(one, call.metric_id) for one in self._asked_for(call) if one.parent is None]
        return {"access": any(one["access"] for one in found), "found": found}

    def feature_access(self, call: Call) -> Blanks:
        found = [
            {"subscription": one, "access": any(call.feature_id in part.plan.features for part in self._parts(one))}
            for one in self._asked_for(call)
            if one.parent is None
        ]
        return {"access": any(one["access"] for one in found), "found": found}

    def verify_idems_received(self, call: Call) -> Blanks:
        """Say which ids are not found among the events of the last days."""
        data = json_of(call.request)
        ids = data.get("idempotency_ids") if isinstance(data, dict) else None
        self.refuse_if(ids is None, "verify none")
        self.refuse_if(data.get("customer_id"), "verify customer_id")
        lookback = data.get("number_days_lookback", 30)
        if not isinstance(lookback, int) or not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
            raise self.no("verify one text")
        oldest = self.accounts.now() - timedelta(days=lookback)
        too_old = {event["idempotency_id"] for event in self.state.events if time_of(event) < oldest}
        holds = self.state.database.holds
        return {"missing": [id_ for id_ in dict.fromkeys(ids) if id_ in too_old or not holds(id_)]}

    def _asked_for(self, call: Call) -> list[Subscription]:
        """Return the customer's active ones with ``subscription_filters``, read as Django REST framework does."""
        # The JSON in text that the server's own documentation asks for is ignored.
        query = parse_qs(call.request.query)
        wanted: set[tuple[str, str]] = set()
        for i in range(len(query)):
            name, value = (query.get(f"subscription_filters[{i}]{part}") for part in ("property_name", "value"))
            if name and value:
                wanted.add((name[-1], value[-1]))
            elif name or value:
                wrong = error("required")._replace(attr="subscription_filters")
                raise Refused(400, wrong, is_about_fields=True)
        return [one for one in self.accounts.active_of(call.customer_id) if wanted <= set(one.filters)]

    def _usage(self, component: Component, subscription: Subscription) -> Decimal | None:
        try:
            return self.state.usage(component, subscription)
        except TypeError:
            raise self.no("access after text in a summed property") from None

    def _parts(self, subscription: Subscription) -> list[Subscription]:
        """Return it and what is attached to it now."""
        now = self.accounts.now()
        return [subscription, *(addon for addon in subscription.addons if addon.is_active(now))]

    def _metric_in(self, subscription: Subscription, metric: Component) -> Blanks:
        for part in self._parts(subscription):
            for component in part.plan.components:
                if component.metric_id == metric.metric_id:
                    usage, limit = self._usage(component, part) or Decimal(0), component.limit
                    # No limit and a limit of zero are both no limit to the server.
                    access = not limit or usage < Decimal(str(limit))
                    found = {"access": access, "usage": usage, "free": component.free_limit or 0, "total": limit}
                    return {"subscription": subscription, **found}
        return {"subscription": subscription, "access": True, "usage": Decimal(0), "free": 0, "total": 0}


def _decode_batch(request: Request) -> list[Any]:
    """Return the events, undecoded; raises TypeError and ValueError, as what is called here does."""
    if not request.body:
        return []  # Go binds nothing and goes on with an empty batch
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise ValueError
    text = request.body.decode("utf-8", "replace").lstrip(" \t\r\n")
    body, _ = _DECODER.raw_decode(text)  # Go reads the first value and ignores what follows
    return _typed(_typed(body, dict).get("batch"), list)


def _typed(value: Any, type_: type[_T]) -> _T:  # noqa: ANN401  # any JSON value
    """Return the value, and for null the zero value of its type."""
    if value is None:
        return type_()
    if not isinstance(value, type_):
        raise TypeError
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _decode_event(event: Any) -> tuple[dict[str, Any], datetime]:  # noqa: ANN401  # any JSON value
    """Return the event and its time; what is null or missing becomes the zero value of its type."""
    event = _typed(event, dict)
    for name, type_ in _TYPES.items():
        if event.get(name) is not None and not isinstance(event[name], type_):
            raise TypeError
    time_created = event.get("time_created")
    if time_created is None:
        return event, _ZERO_TIME
    if not _RFC3339.fullmatch(time_created):
        raise ValueError
    return event, datetime.fromisoformat(time_created)


def _why_refused(event: dict[str, Any], id_: str, time_created: datetime, now: datetime) -> str | None:
    if not id_:
        return "No idempotency_id provided"
    if not event.get("customer_id"):
        return "No customer_id provided"
    if time_created == _ZERO_TIME:
        return "Invalid time_created"
    # Go compares to the second: it formats the time without its fraction first.
    if not now - OLDEST <= time_created.replace(microsecond=0) <= now + NEWEST:
        return TOO_FAR
    return None
