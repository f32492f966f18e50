"""The server of 2024-02 as a whole: who answers which path, and which keys are good for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lotus_durable.testing.exchange import Answer, Request, nginx_page
from lotus_durable.testing.generation import Generation
from lotus_durable.testing.l24.access import Access
from lotus_durable.testing.l24.customers import Customers
from lotus_durable.testing.l24.subscriptions import Subscriptions
from lotus_durable.testing.l24.track import Track

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lotus_durable.testing.forms import Refused
    from lotus_durable.testing.generation import Blanks, Call
    from lotus_durable.testing.state import KeyState

SERVER_ERRORS = 500

TEXT_KEY_ERRORS = {
    "/api/customer_metric_access/",
    "/api/customer_feature_access/",
    "/api/metric_access/",
    "/api/feature_access/",
}
"""These look at the key themselves and say as text what is wrong with it."""
EXPIRED_IS_WRONG = {"/api/ping/", "/api/verify_idems_received/"}
"""Of Django's paths these alone refuse a key that has expired."""
NO_KEY_NEEDED = {"/api/healthcheck/"}


class L24(Generation):
    """Answers of 2024."""

    name = "L24"
    max_body = 20 * 1024 * 1024  # nginx's limit

    def groups(self) -> Iterable[object]:
        return [self, Track(self), Customers(self), Subscriptions(self), Access(self)]

    def refused_early(self, request: Request, methods: Sequence[str]) -> Answer | None:
        if max(request.content_length or 0, len(request.body)) > self.max_body_bytes:
            return nginx_page(413)
        if request.path.startswith("/api/") and not request.path.startswith("/api/track"):
            return self._refused_by_django(request, methods)
        # The Go service asks for the key first, whatever the path.
        key = request.headers.get("x-api-key")
        answer = self._key_error(self.state.keys.look_up_prefix(key), as_text=self.text_key_errors)
        if answer is not None:
            return answer
        if not methods:
            return self.record.answer("track no slash")
        return None if request.method in methods else self.record.answer("track GET")

    def _refused_by_django(self, request: Request, methods: Sequence[str]) -> Answer | None:
        if not methods:
            return self.lost(request)
        key_state = self.key_state(request)
        if (key_state == "expired" and request.path not in EXPIRED_IS_WRONG) or request.path in NO_KEY_NEEDED:
            key_state = "valid"
        if request.path in TEXT_KEY_ERRORS:
            answer = self._key_error(key_state, as_text=True)
            if answer is not None:
                return answer
        elif key_state != "valid":
            raise self.no("wrong key")
        if request.method not in methods:
            raise self.no_such_method(request)
        return None

    def _key_error(self, key_state: KeyState, *, as_text: bool) -> Answer | None:
        if key_state == "valid":
            return None
        if as_text:
            return self.record.answer("access no key" if key_state == "missing" else "access wrong key")
        return self.record.answer(
            {"missing": "track no key", "expired": "track expired key"}.get(key_state, "track wrong key")
        )

    def word(self, refused: Refused) -> Answer:
        """As RFC 7807 problems, the first error on top."""
        first = refused.errors[0]
        if refused.is_about_fields:
            errors = [error._asdict() for error in refused.errors]
            return self.record.answer("invalid", title=first.code, detail=first.detail, errors=errors)
        kind = "server-error" if refused.status >= SERVER_ERRORS else "client-error"
        return self.record.answer("refused", refused.status, kind=kind, title=first.code, detail=first.detail)

    def database_down(self) -> Answer:
        return self.record.answer("track cache down")

    def healthcheck(self, _call: Call) -> Blanks:
        return {}
