"""What the real servers answered, kept in ``data/l22.json`` and ``l24.json``, with blanks for what varies.

"calls" has each call by name: where it is ("at", with the names of "things" in its path), what is read from its query
or body ("form", see ``forms``), of which fields one is needed ("one_of": the fields, and the refusals of none and of
both), and what is answered when all is well: status, how it is written (a key of ``_WRITERS``) and body. "answers" has
what else may be answered, and "refusals" what is said no with: status, code and detail, and for one that names a field,
the field; where the recording has the same, under the name that it has there. "things" has what an id may name: the
collection of the accounts, the server's word for the id, the prefixes it is taken with, and the one it has. "parts" has
the pieces that answers share, and "words" what the server calls something. In their texts

- ``{customer.name}`` is the ``name`` of what is given as ``customer``; as the whole text it keeps its type;
- ``{start|day}`` is made of it by "words", or by ``_MADE``;
- ``{plan(one.plan)}`` is the part "plan", filled with that as ``it``, or null for None;
- ``{plan(*plans)}`` is a list with that part for each of them.

Within a part, and the parts in it, what it is filled with also has the part's own name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from lotus_durable.testing.data import load
from lotus_durable.testing.exchange import HTML, JSON, Answer

_BLANK = re.compile(r"\{(?:(\w+)\((\*?))?([\w.]+)(?:\|(\w+))?\)?\}")
_GO_ESCAPES = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"})


def _compact(body: object) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


_WRITERS: dict[str, tuple[str, Callable[[object], str]]] = {
    "django": (JSON, json.dumps),  # JsonResponse: spaces after separators
    "drf": (JSON, _compact),  # Django REST framework
    "go": ("application/json; charset=UTF-8", lambda body: _compact(body).translate(_GO_ESCAPES) + "\n"),  # echo
    "page": ("text/html", str),
    "text": (HTML, str),
}
_MADE: dict[str, Callable[[Any], object]] = {
    "by_id": lambda things: [things[id_] for id_ in sorted(things)],
    "day": lambda moment: moment.date().isoformat(),
    "number": lambda value: None if value is None else float(value),
    "as_plan": lambda id_: id_.replace("addon_", "plan_"),  # L24 lists the add-ons of a customer as if they were plans,
    "as_subscription": lambda id_: id_.removeprefix("addon_"),  # and what they are attached by as if subscriptions
}


class Record:
    """The answers of one generation."""

    def __init__(self, generation: str) -> None:
        recorded = load(generation.lower())
        self.calls: dict[str, Any] = recorded["calls"]
        self.things: dict[str, Any] = recorded["things"]
        self._answers = {name: call.get("answer") for name, call in self.calls.items()} | recorded["answers"]
        self.refusals: dict[str, Any] = recorded["refusals"]
        self._parts: dict[str, Any] = recorded["parts"]
        self._words: dict[str, Any] = recorded["words"]

    def answer(self, name: str, status: int | None = None, /, **blanks: object) -> Answer:
        """Return the answer of this name; ``status`` takes the place of the recorded one."""
        recorded, kind, body = self._answers[name]
        content_type, write = _WRITERS[kind]
        return Answer(status or recorded, write(self._fill(body, blanks)).encode("utf-8", "replace"), content_type)

    def refusal(self, name: str, **blanks: object) -> list[Any]:
        """Return status, code and detail of this refusal, and the field if it names one (None: none of them)."""
        filled: list[Any] = self._fill(self.refusals[name], blanks)
        return filled

    def _fill(self, template: Any, blanks: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
        match template:
            case str():
                whole = _BLANK.fullmatch(template)
                if whole:
                    return self._value(whole, blanks)
                return _BLANK.sub(lambda blank: str(self._value(blank, blanks)), template)
            case dict():
                return {self._fill(name, blanks): self._fill(value, blanks) for name, value in template.items()}
            case list():
                return [self._fill(item, blanks) for item in template]
            case _:
                return template

    def _value(self, blank: re.Match[str], blanks: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
        part, each, path, made = blank.groups()
        name, *attributes = path.split(".")
        value = blanks[name]
        for attribute in attributes:
            value = _attribute(value, attribute)
        if made:
            value = _MADE[made](value) if made in _MADE else self._word(made, value)
        if each:
            return [self._part(part, item, blanks) for item in value]
        if part:
            return None if value is None else self._part(part, value, blanks)
        return _plain(value)

    def _word(self, name: str, value: object) -> str:
        words: dict[str, str] = self._words[name]
        return words.get(str(value) if value else "none") or words["else"]

    def _part(self, name: str, item: object, blanks: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
        return self._fill(self._parts[name], {**blanks, "it": item, name: item})


def _attribute(value: Any, name: str) -> Any:  # noqa: ANN401  # what the state holds
    if isinstance(value, dict):
        return value.get(name)
    return value[int(name)] if name.isdigit() else getattr(value, name)


def _plain(value: Any) -> Any:  # noqa: ANN401  # what the state holds
    """Return what JSON has for it: both servers send money as a number, and times in UTC with ``+00:00``."""
    if isinstance(value, Decimal):
        return float(value)
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
