"""What both generations share: from a request to the view that answers it, and from its refusal to an answer."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, unquote

from lotus_durable.testing.exchange import Answer, Request
from lotus_durable.testing.forms import READERS, FieldError, Reader, Refused, named, read
from lotus_durable.testing.record import Record

if TYPE_CHECKING:
    from lotus_durable.testing.accounts import Accounts
    from lotus_durable.testing.state import KeyState, ServerState

Refusal = Callable[[str], str | None]
"""Given an idempotency id the rules accept: why it is refused all the same (an injected fault), or None."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has found its view.

    Attributes:
        ids: the decoded parts of the path, in order.
        sent: the fields of its form.
        refuse: see Refusal.
        seen: what the database showed when the request began.
    """

    request: Request
    ids: tuple[str, ...]
    sent: SimpleNamespace
    refuse: Refusal
    seen: object


Blanks = Mapping[str, object]
"""What the recorded answer of a call has blanks for."""
View = Callable[[Call], Blanks | Answer]
"""Answers a call, by the blanks of its recorded answer or by another answer."""


class Generation(ABC):
    """Answers requests by the rules of one server; faults are none of its business but for single refusals.

    Args:
        state: what the server remembers.
        max_body_bytes: what it accepts as a body.
        text_key_errors: L24: key errors of track as plain text, as the servers between 2022 and 2024.
        hash_verified_ids: L24: the answer of verify_idems_received that names hashes, see there.
    """

    name: ClassVar[str]
    max_body: ClassVar[int]

    def __init__(
        self,
        state: ServerState,
        *,
        max_body_bytes: int | None = None,
        text_key_errors: bool = False,
        hash_verified_ids: bool = False,
    ) -> None:
        self.state = state
        self.accounts: Accounts = state.accounts
        self.record: Record = Record(self.name)
        self.max_body_bytes: int = self.max_body if max_body_bytes is None else max_body_bytes
        self.text_key_errors = text_key_errors
        self.hash_verified_ids = hash_verified_ids
        self.readers: dict[str, Reader] = {**READERS, "customer": named("customer_id", self.accounts.customers.get)}
        self._routes = [(name, *_route(call["at"])) for name, call in self.record.calls.items()]
        self._views: dict[str, View] = {
            name: getattr(group, name) for group in self.groups() for name in self.record.calls if hasattr(group, name)
        }

    @abstractmethod
    def groups(self) -> Iterable[object]:
        """Return what has the views: methods with the names of the recorded calls."""

    @abstractmethod
    def refused_early(self, request: Request, methods: Sequence[str]) -> Answer | None:
        """Return why no view is asked: path, key, method, size, in the server's order; no methods: no such path."""

    @abstractmethod
    def word(self, refused: Refused) -> Answer:
        """Answer a refusal."""

    @abstractmethod
    def database_down(self) -> Answer:
        """Answer as while the database or cache cannot be reached."""

    def respond(self, request: Request, refuse: Refusal, work: Callable[[], bool] = lambda: False) -> Answer | None:
        """Answer one request and change the state accordingly.

        ``work`` is called when it has begun and takes as long as the server does; when it returns True the server
        ended meanwhile: nothing is changed, and there is no answer.
        """
        with self.state.changed:
            seen = self.state.database.begin()
        if work():
            return None
        with self.state.changed:
            try:
                return self._respond(request, refuse, seen)
            except Refused as refused:
                return self.word(refused)

    def _respond(self, request: Request, refuse: Refusal, seen: object) -> Answer:
        found = self._find(request.path)
        answer = self.refused_early(request, list(found))
        if answer is not None:
            return answer
        name, ids = found[request.method]
        call = Call(request, ids, self._form(name, request), refuse, seen)
        result = self._views[name](call)
        return result if isinstance(result, Answer) else self.record.answer(name, **result)

    def _find(self, path: str) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Return the calls at this path, by method, and the parts of the path."""
        matches = [(name, method, pattern.fullmatch(unquote(path))) for name, method, pattern in self._routes]
        return {method: (name, match.groups()) for name, method, match in matches if match}

    def _form(self, name: str, request: Request) -> SimpleNamespace:
        """Read the fields of a call: of the query (the last of each name, as Django takes them), or of the body."""
        form = self.record.calls[name].get("form")
        if form is None:
            return SimpleNamespace()
        if request.method != "GET":
            return read(json_of(request), form, self.readers)
        values = parse_qs(request.query)
        fields = {field: found if form.get(field, "").endswith("*") else found[-1] for field, found in values.items()}
        return read(fields, form, self.readers)

    def lost(self, request: Request) -> Answer:
        """Answer a path without a view as Django does; it redirects when only the slash at its end is missing."""
        if request.path.endswith("/") or not self._find(request.path + "/"):
            return self.record.answer("unknown path")
        query = f"?{request.query}" if request.query else ""
        return Answer(301, headers=(("Location", f"{request.path}/{query}"),))

    def no(self, name: str, **blanks: object) -> Refused:
        """Return the recorded refusal of this name, to be raised."""
        status, code, detail, *attr = self.record.refusal(name, **blanks)
        error = FieldError(code, detail, attr[0] if attr else None)
        return Refused(status, error, is_about_fields=bool(attr))

    def no_such_method(self, request: Request) -> Refused:
        """Return Django's refusal of a method."""
        return Refused(405, FieldError("method_not_allowed", f'Method "{request.method}" not allowed.', None))

    def key_state(self, request: Request) -> KeyState:
        """Look the whole key up."""
        return self.state.keys.look_up(request.headers.get("x-api-key"))


def _route(at: str) -> tuple[str, re.Pattern[str]]:
    method, _, path = at.partition(" ")
    return method, re.compile(re.escape(path).replace(r"\{id\}", "([^/.]+)"))


def json_of(request: Request) -> Any:  # noqa: ANN401  # any JSON value
    """Return the body; raises Refused (400 parse_error, 415 unsupported_media_type) when it is not JSON."""
    if not request.body:
        return {}
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        detail = f'Unsupported media type "{content_type}" in request.'
        raise Refused(415, FieldError("unsupported_media_type", detail, None))
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, FieldError("parse_error", f"JSON parse error - {error}", None)) from None
