"""What both generations share: from a request to the view that answers it, and from its refusal to an answer."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, unquote

from lotus_durable.testing.exchange import Answer, Request
from lotus_durable.testing.forms import FieldError, Reader, Refused, Required, read
from lotus_durable.testing.record import Record

if TYPE_CHECKING:
    from lotus_durable.testing.state import KeyState, ServerState

Refusal = Callable[[str], str | None]
"""Given an idempotency id the rules accept: why it is refused all the same (an injected fault), or None."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has found its view.

    Attributes:
        ids: the decoded parts of the path, in order.
        refuse: see Refusal.
        seen: what the database showed when the request began.
    """

    request: Request
    ids: tuple[str, ...] = ()
    refuse: Refusal = lambda _id: None
    seen: object = None

    def sent(self, **readers: Reader | Required) -> SimpleNamespace:
        """Return these fields of the body; raises Refused when something is wrong with it or them."""
        return read(self.json(), **readers)

    def asked(self, lists: Mapping[str, Reader] | None = None, **readers: Reader | Required) -> SimpleNamespace:
        """Return these fields of the query, the last of each name, as Django takes them; of ``lists``, all."""
        values: Mapping[str, Any] = parse_qs(self.request.query)
        last = {name: found[-1] for name, found in values.items()}
        every = {
            name: lambda found, one=reader: [one(value) for value in found] for name, reader in (lists or {}).items()
        }
        return read({**last, **{name: values.get(name) for name in every}}, **readers, **every)

    def json(self) -> Any:  # noqa: ANN401  # any JSON value
        """Return the body; raises Refused (400 parse_error, 415 unsupported_media_type) when it is not JSON."""
        body = self.request.body
        if not body:
            return {}
        content_type = self.request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            detail = f'Unsupported media type "{content_type}" in request.'
            raise Refused(415, FieldError("unsupported_media_type", detail, None))
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(400, FieldError("parse_error", f"JSON parse error - {error}", None)) from None

    def query_list(self, name: str) -> list[str]:
        """Return all values the query has for a name."""
        return parse_qs(self.request.query).get(name, [])


View = Callable[[Call], Answer]
Views = Mapping[tuple[str, str], View]
"""By method and path; its ``{id}`` may be anything but a slash or a dot."""


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
        self.accounts = state.accounts
        self.record = Record(self.name)
        self.max_body_bytes = self.max_body if max_body_bytes is None else max_body_bytes
        self.text_key_errors = text_key_errors
        self.hash_verified_ids = hash_verified_ids
        self._views = [(method, _pattern(path), view) for (method, path), view in self.views().items()]

    @abstractmethod
    def views(self) -> Views:
        """Return the views."""

    @abstractmethod
    def refused_at_the_door(self, request: Request, methods: Mapping[str, View]) -> Answer | None:
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
        methods = {method: view for method, view, _ in found}
        answer = self.refused_at_the_door(request, methods)
        if answer is not None:
            return answer
        return methods[request.method](Call(request, found[0][2], refuse, seen))

    def _find(self, path: str) -> list[tuple[str, View, tuple[str, ...]]]:
        matches = [(method, view, pattern.fullmatch(unquote(path))) for method, pattern, view in self._views]
        return [(method, view, match.groups()) for method, view, match in matches if match]

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


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\{id\}", "([^/.]+)"))
