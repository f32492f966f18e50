"""What both generations share: from a request to the view that answers it, and from its refusal to an answer."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote

from lotus_durable.testing.accounts import CURRENCIES, Accounts
from lotus_durable.testing.database import Database, KeyState, ServerState
from lotus_durable.testing.exchange import Answer, Request
from lotus_durable.testing.forms import READERS, FieldError, Reader, Refused, error, named, read
from lotus_durable.testing.record import Record

Refusal = Callable[[str], str | None]
"""Given an idempotency id the rules accept: why it is refused all the same (an injected fault), or None."""


class Answered(Exception):
    """There is an answer, and no more to be done."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class Call(SimpleNamespace):
    """A request that has found its view: with the fields of its form, and what its path names, by their names.

    Of the fields of which one is needed, ``chosen`` is the one that was sent; ``seen`` is what the database showed when
    the request began.
    """

    request: Request
    refuse: Refusal
    seen: Mapping[str, bool]


Blanks = Mapping[str, object]
"""What the recorded answer of a call has blanks for, beside those that the call itself fills."""


class Generation(ABC):
    """Answers requests by the rules of one server; faults are none of its business but for single refusals.

    A call is answered as it was recorded; where there is more to it, by a method of its name, a *view*, which returns
    further blanks of that answer, another answer, or None.
    """

    name: ClassVar[str]
    database: ClassVar[type[Database]]
    max_body: ClassVar[int]

    def __init__(self, state: ServerState, max_body_bytes: int | None) -> None:
        self.state = state
        self.accounts: Accounts = state.accounts
        self.record: Record = Record(self.name)
        self.max_body_bytes: int = self.max_body if max_body_bytes is None else max_body_bytes
        things = vars(self.accounts) | {"currencies": CURRENCIES, "nothing": {}}
        self._readers: dict[str, Reader] = READERS | {
            name: named(things[thing["in"]], thing["key"], thing.get("is", ""), thing.get("taken", ()))
            for name, thing in self.record.things.items()
        }
        self._routes = [(name, *_route(call["at"])) for name, call in self.record.calls.items()]

    @abstractmethod
    def admit(self, request: Request, methods: Collection[str]) -> None:
        """Look at path, key, method and size in the server's order; raise what is answered instead of asking a view.

        No ``methods``: no such path.
        """

    @abstractmethod
    def answer_to(self, refused: Refused) -> Answer:
        """Answer a refusal."""

    def respond(self, request: Request, refuse: Refusal, work: Callable[[], bool]) -> Answer | None:
        """Answer one request and change the state accordingly.

        ``work`` takes as long as the server does; if it returns True the server ended meanwhile: nothing was done.
        """
        with self.state.changed:
            seen = self.state.database.begin()
        if work():
            return None
        with self.state.changed:
            try:
                return self._respond(request, refuse, seen)
            except Answered as answered:
                return answered.answer
            except Refused as refused:
                return self.answer_to(refused)
            except Exception as error:  # noqa: BLE001  # Django does so, and views check little before they use it
                return self.answer_to(Refused(500, FieldError("error", str(error))))

    def _respond(self, request: Request, refuse: Refusal, seen: Mapping[str, bool]) -> Answer:
        found = self._find(request.path)
        self.admit(request, found)
        name, in_path = found[request.method]
        recorded = self.record.calls[name]
        call = Call(request=request, refuse=refuse, seen=seen, **self._form(recorded, request), **self._named(in_path))
        for names, none, both in recorded.get("one_of", ()):
            sent = [value for field in names if (value := getattr(call, field)) is not None]
            self.refuse_if(len(sent) != 1, both if sent else none)
            call.chosen = sent[0]
        result = getattr(self, name, lambda _call: None)(call)
        if isinstance(result, Answer):
            return result
        return self.record.answer(name, accounts=self.accounts, **{**vars(call), **(result or {})})

    def _find(self, path: str) -> dict[str, tuple[str, dict[str, str]]]:
        """Return the calls at this path, by method, and the parts of the path."""
        matches = [(name, method, pattern.fullmatch(unquote(path))) for name, method, pattern in self._routes]
        return {method: (name, match.groupdict()) for name, method, match in matches if match}

    def _form(self, recorded: Mapping[str, Any], request: Request) -> dict[str, Any]:
        """Read the fields of a call: of the query (the last of each name, as Django takes them), or of the body."""
        form = recorded.get("form")
        if form is None:
            return {}
        if request.method != "GET":
            return read(json_of(request), form, self._readers)
        values = parse_qs(request.query)
        fields = {field: found if form.get(field, "").endswith("*") else found[-1] for field, found in values.items()}
        return read(fields, form, self._readers)

    def _named(self, in_path: Mapping[str, str]) -> dict[str, Any]:
        """Return what a path names; what may name several things stays as it is."""
        found: dict[str, Any] = dict(in_path)
        for name in in_path.keys() & self.record.things.keys():
            try:
                found[name] = self._readers[name](in_path[name])
            except Refused as refused:
                is_unknown = refused.errors[0].code == "does_not_exist"
                raise (
                    self.no(self.record.things[name]["unknown"], id=in_path[name]) if is_unknown else refused
                ) from None
        return found

    def verdict(self, failed: Mapping[Any, str], *, of: int) -> Answer:
        """Answer track as both servers count: distinct failed ids against events, so "some" can mean none."""
        how = "none" if len(failed) == of else "some" if failed else "all"
        return self.record.answer(f"track {how}", failed=failed)

    def find_or_redirect(self, request: Request, methods: Collection[str]) -> None:
        """Answer a path without a view as Django does; it redirects when only the slash at its end is missing."""
        if not methods and not request.path.endswith("/") and self._find(request.path + "/"):
            query = f"?{request.query}" if request.query else ""
            raise Answered(Answer(301, headers=(("Location", f"{request.path}/{query}"),)))
        self.refuse_if(not methods, "unknown path")

    def no(self, name: str, **blanks: object) -> Exception:
        """Return the recorded refusal, or answer, of this name, to be raised."""
        if name not in self.record.refusals:
            return Answered(self.record.answer(name, **blanks))
        status, code, detail, *attr = self.record.refusal(name, **blanks)
        return Refused(status, FieldError(code, detail, *attr), is_about_fields=bool(attr))

    def refuse_if(self, condition: object, name: str, **blanks: object) -> None:
        """Raise the recorded refusal of this name when the condition holds."""
        if condition:
            raise self.no(name, **blanks)

    def key_state(self, request: Request) -> KeyState:
        """Look the whole key up, as Django does on both servers."""
        presented = request.headers.get("x-api-key")
        return self.state.keys.get(presented, "unknown") if presented else "missing"


def _route(at: str) -> tuple[str, re.Pattern[str]]:
    method, _, path = at.partition(" ")
    return method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/.]+)", path))


def json_of(request: Request) -> Any:  # noqa: ANN401  # any JSON value
    """Return the body; raises Refused (400 parse_error, 415 unsupported_media_type) when it is not JSON."""
    if not request.body:
        return {}
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, error("content type", content_type))
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as problem:
        raise Refused(400, error("not JSON", problem)) from None
