"""The server of 2024-02 as a whole: who answers which path, and which keys are good for what."""

from __future__ import annotations

from collections.abc import Collection

from lotus_durable.testing.database import Database
from lotus_durable.testing.exchange import Answer, Request, nginx_page
from lotus_durable.testing.forms import Refused
from lotus_durable.testing.l24.access import Access
from lotus_durable.testing.l24.customers import Customers
from lotus_durable.testing.l24.subscriptions import Subscriptions
from lotus_durable.testing.l24.track import Track
from lotus_durable.testing.state import KeyState

SERVER_ERRORS = 500

TEXT_KEY_ERRORS = {
    f"/api/{call}/" for call in ("customer_metric_access", "customer_feature_access", "metric_access", "feature_access")
}
"""These look at the key themselves and say as text what is wrong with it."""
EXPIRED_IS_WRONG = {"/api/ping/", "/api/verify_idems_received/"}
"""Of Django's paths these alone refuse a key that has expired."""
NO_KEY_NEEDED = {"/api/healthcheck/"}


class L24(Track, Customers, Subscriptions, Access):
    """Answers of 2024."""

    name = "L24"
    database = Database
    max_body = 20 * 1024 * 1024  # nginx's limit

    def refused_early(self, request: Request, methods: Collection[str]) -> Answer | None:
        if max(request.content_length or 0, len(request.body)) > self.max_body_bytes:
            return nginx_page(413)
        if request.path.startswith("/api/") and not request.path.startswith("/api/track"):
            return self._refused_by_django(request, methods)
        # The Go service asks for the key first, whatever the path, and looks only at what stands before its dot.
        prefixes = {key.partition(".")[0]: state for key, state in self.state.keys.items()}
        presented = request.headers.get("x-api-key", "")
        state = prefixes.get(presented.partition(".")[0], "unknown") if presented else "missing"
        answer = self._key_error(state, as_text=self.text_key_errors)
        if answer is not None:
            return answer
        if not methods:
            return self.record.answer("track no slash")
        return None if request.method in methods else self.record.answer("track GET")

    def _refused_by_django(self, request: Request, methods: Collection[str]) -> Answer | None:
        if not methods:
            return self.lost(request)
        key_state = self.key_state(request)
        if (key_state == "expired" and request.path not in EXPIRED_IS_WRONG) or request.path in NO_KEY_NEEDED:
            key_state = "valid"
        if request.path in TEXT_KEY_ERRORS:
            answer = self._key_error(key_state, as_text=True)
            if answer is not None:
                return answer
        self.refuse_if(key_state != "valid", "wrong key")
        if request.method not in methods:
            raise self.no_such_method(request)
        return None

    def _key_error(self, key_state: KeyState, *, as_text: bool) -> Answer | None:
        if key_state == "valid":
            return None
        if as_text:
            return self.record.answer("access no key" if key_state == "missing" else "access wrong key")
        return self.record.answer(f"track {key_state} key")

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
