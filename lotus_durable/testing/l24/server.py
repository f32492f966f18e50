"""The server of 2024-02: nginx in front, a Go service for ``/api/track*``, Django for the rest of ``/api/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lotus_durable.testing.exchange import Answer, Request, django_page, go_json, nginx_page
from lotus_durable.testing.forms import Invalid, Refused
from lotus_durable.testing.l22.server import add_slash
from lotus_durable.testing.l24 import access, customers, errors, subscriptions, track
from lotus_durable.testing.routing import Routes

if TYPE_CHECKING:
    from lotus_durable.testing.generation import Refusal
    from lotus_durable.testing.state import ServerState


class L24:
    """Answers of 2024.

    Args:
        state: what the server remembers.
        max_body_bytes: nginx's limit.
        text_key_errors: key errors of track as plain text, as the servers between 2022 and 2024.
        hash_verified_ids: the answer of verify_idems_received that names hashes, see there.
    """

    def __init__(
        self,
        state: ServerState,
        *,
        max_body_bytes: int | None = None,
        text_key_errors: bool = False,
        hash_verified_ids: bool = False,
    ) -> None:
        self._state = state
        self._max_body = track.MAX_BODY if max_body_bytes is None else max_body_bytes
        self._text_key_errors = text_key_errors
        self._routes = Routes(
            {
                **customers.views(state.accounts),
                **subscriptions.views(state.accounts),
                **access.views(state, hash_verified_ids=hash_verified_ids),
            }
        )

    def respond(self, request: Request, refuse: Refusal) -> Answer:
        """Answer one request."""
        if max(request.content_length or 0, len(request.body)) > self._max_body:
            return nginx_page(413)
        if request.path.startswith("/api/") and not request.path.startswith("/api/track"):
            return self._django(request)
        return self._go(request, refuse)

    def database_down(self) -> Answer:
        """Answer as while the cache cannot be reached."""
        return track.database_down()

    def _go(self, request: Request, refuse: Refusal) -> Answer:
        """Ask for the key first, whatever the path, as the Go service does."""
        with self._state.changed:
            key_state = self._state.keys.look_up_prefix(request.headers.get("x-api-key"))
        error = track.key_error(key_state, as_text=self._text_key_errors)
        if error is not None:
            return error
        if request.path != "/api/track/":
            return go_json(404, {"message": "Not Found"})
        if request.method != "POST":
            return go_json(405, {"message": "Method Not Allowed"})
        return track.track(request, self._state, refuse)

    def _django(self, request: Request) -> Answer:
        found = self._routes.find(request)
        if found is None:
            if self._routes.lacks_only_a_slash(request.path):
                return add_slash(request)
            return django_page(404, "Not Found")
        by_method, call = found
        with self._state.changed:
            refused = self._key_error(request)
            if refused is not None:
                return refused
            try:
                if request.method not in by_method:
                    raise Refused(405, "method_not_allowed", f'Method "{request.method}" not allowed.')
                return by_method[request.method](call)
            except Refused as refusal:
                return errors.refusal(refusal)
            except Invalid as error:
                return errors.validation_error(error)

    def _key_error(self, request: Request) -> Answer | None:
        key = request.headers.get("x-api-key")
        key_state = self._state.keys.look_up(key)
        if request.path in access.TEXT_KEY_ERRORS:
            return track.key_error(key_state, as_text=True)
        return errors.key_problem(key_state, key)
