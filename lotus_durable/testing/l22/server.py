"""The server of 2022-09: Django answers everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lotus_durable.testing.exchange import Answer, Request, django_page, drf_json
from lotus_durable.testing.forms import NO_FIELD, Invalid, Refused
from lotus_durable.testing.l22 import track
from lotus_durable.testing.l22.calls import routes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lotus_durable.testing.generation import Refusal
    from lotus_durable.testing.routing import Call, View
    from lotus_durable.testing.state import ServerState


class L22:
    """Answers of 2022. ``max_body_bytes`` is what the server accepts as a body."""

    def __init__(self, state: ServerState, *, max_body_bytes: int | None = None) -> None:
        self._state = state
        self._routes = routes(state)
        self._max_body = track.MAX_BODY if max_body_bytes is None else max_body_bytes

    def respond(self, request: Request, refuse: Refusal) -> Answer:
        """Answer one request."""
        if request.path == "/api/track/":
            return self._check(request, ["POST"]) or track.track(request, self._state, refuse)
        found = self._routes.find(request)
        if found is not None:
            return self._check(request, found[0]) or self._view(*found)
        if request.path == "/api/track" or self._routes.lacks_only_a_slash(request.path):
            return add_slash(request)
        return django_page(404, "Not Found")

    def database_down(self) -> Answer:
        """Answer as while the database cannot be reached."""
        return track.server_error()

    def _check(self, request: Request, methods: Mapping[str, View] | list[str]) -> Answer | None:
        """Return why the view is not reached: the key, then the method, then the size, as Django gets to them."""
        with self._state.changed:
            key_state = self._state.keys.look_up(request.headers.get("x-api-key"))
        if key_state != "valid":
            return drf_json(403, {"detail": "Authentication credentials were not provided."})
        if request.method not in methods:
            return drf_json(405, {"detail": f'Method "{request.method}" not allowed.'})
        if (request.content_length or 0) > self._max_body:
            return django_page(400, "Bad Request (400)")
        return None

    def _view(self, by_method: Mapping[str, View], call: Call) -> Answer:
        try:
            with self._state.changed:
                return by_method[call.request.method](call)
        except Refused as refusal:
            return drf_json(refusal.status, {"detail": refusal.detail})
        except Invalid as error:
            return drf_json(400, _by_field(error))


def _by_field(error: Invalid) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for field_error in error.errors:
        fields.setdefault(field_error.attr or NO_FIELD, []).append(field_error.detail)
    return fields


def add_slash(request: Request) -> Answer:
    """Redirect as Django does; clients turn a POST into a GET on the way."""
    query = f"?{request.query}" if request.query else ""
    return Answer(301, headers=(("Location", f"{request.path}/{query}"),))
