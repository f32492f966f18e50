"""What one call sends, as values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, urlencode

from lotus_durable.errors import InvalidRequest, NotSupported

from .arguments import path_part, refused
from .generation import Generation

Query: TypeAlias = Mapping[str, str | Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Request:
    """What one call sends to one generation of the server.

    Attributes:
        path: from ``/api/`` on, its parts quoted.
        query: None values are left out, a list is sent as the same name several times.
        body: None values are left out; None sends no body.
        repeatable: sending it twice does no more than sending it once.
        changes: it is not only a question.
    """

    method: Literal["GET", "POST"]
    path: str
    query: Query = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    repeatable: bool = False
    changes: bool = True

    def target(self) -> str:
        """Return path and query as they are sent."""
        pairs = {name: value for name, value in self.query.items() if value is not None}
        return f"{self.path}?{urlencode(pairs, doseq=True, quote_via=quote)}" if pairs else self.path

    def content(self) -> bytes | None:
        """Return the body as it is sent."""
        if self.body is None:
            return None
        fields = {name: value for name, value in self.body.items() if value is not None}
        return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


Plan = Callable[[Generation], Request]
"""Makes a call's request for a generation of the server; raises InvalidRequest where there is none."""


def get(path: str, query: Query | None = None) -> Request:
    """Return a read. What the path names in braces is taken out of the query, and stands there."""
    return Request("GET", *_placed(path, query or {}), repeatable=True, changes=False)


def post(path: str, body: Mapping[str, Any], *, repeatable: bool = False) -> Request:
    """Return a write, its path as that of :func:`get`; not repeatable unless it is said to be."""
    path, rest = _placed(path, body)
    return Request("POST", path, body=rest, repeatable=repeatable)


def _placed(path: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    rest = dict(given)
    return re.sub(r"\{(\w+)\}", lambda named: path_part(named[1], rest.pop(named[1])), path), rest


def not_supported(argument: str | None, generation: Generation, reason: str) -> NotSupported:
    """Return the error for what this generation of the server cannot do."""
    prefix = "" if argument is None else f"{argument}: "
    return NotSupported(f"{prefix}the server of {generation} {reason}", argument=argument)


def needed(argument: str, generation: Generation) -> InvalidRequest:
    """Return the error for an argument that this generation of the server needs."""
    return refused(argument, f"the server of {generation} needs it")


def refuse_given(generation: Generation, reason: str, **given: object) -> None:
    """Refuse arguments that this generation of the server would ignore.

    Raises:
        NotSupported: names the first of them that is not None.
    """
    for argument, value in given.items():
        if value is not None:
            raise not_supported(argument, generation, reason)


def only_2024(request: Request, otherwise: str) -> Plan:
    """Return the plan of a call that the server of 2022 does not have.

    Args:
        request: what is sent to the server of 2024.
        otherwise: what the server of 2022 cannot do, after "the server of 2022".
    """

    def plan(generation: Generation) -> Request:
        if generation == "2022":
            raise not_supported(None, generation, otherwise)
        return request

    return plan
