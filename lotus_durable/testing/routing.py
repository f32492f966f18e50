"""From a path to the function that answers it, as Django finds them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from lotus_durable.testing.forms import Form, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lotus_durable.testing.exchange import Answer, Request


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has found its view: ``ids`` are the decoded parts of the path, in order."""

    request: Request
    ids: tuple[str, ...] = field(default=())

    def form(self) -> Form:
        """Return the body's fields; raises Refused or Invalid when it holds none."""
        return Form(self.json())

    def json(self) -> Any:  # noqa: ANN401  # any JSON value
        """Return the body; raises Refused (400 parse_error, 415 unsupported_media_type) when it is not JSON."""
        body = self.request.body
        if not body:
            return {}
        content_type = self.request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "unsupported_media_type", f'Unsupported media type "{content_type}" in request.')
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "parse_error", f"JSON parse error - {error}") from None

    def query(self) -> Form:
        """Return the query's fields, the last of each name, as Django takes them."""
        values = parse_qs(self.request.query, keep_blank_values=False)
        return Form({name: found[-1] for name, found in values.items()})

    def query_list(self, name: str) -> list[str]:
        """Return all values the query has for a name."""
        return parse_qs(self.request.query).get(name, [])


View = Callable[[Call], "Answer"]


class Routes:
    """Paths with ``{id}`` for a part; a part may be anything but a slash or a dot, which find nothing (404)."""

    def __init__(self, views: Mapping[str, Mapping[str, View]]) -> None:
        self._views = [
            (re.compile(re.escape(path).replace(r"\{id\}", "([^/.]+)")), by_method) for path, by_method in views.items()
        ]

    def find(self, request: Request) -> tuple[Mapping[str, View], Call] | None:
        """Return the views of this path by method, and the call to hand to one; None when there are none."""
        path = unquote(request.path)
        for pattern, by_method in self._views:
            match = pattern.fullmatch(path)
            if match:
                return by_method, Call(request, match.groups())
        return None

    def lacks_only_a_slash(self, path: str) -> bool:
        """Whether the path would be found with a slash at its end."""
        return not path.endswith("/") and any(pattern.fullmatch(unquote(path) + "/") for pattern, _ in self._views)
