"""How Django words what is wrong in 2024 (RFC 7807, as the server's documentation calls it)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lotus_durable.testing.exchange import Answer, drf_json

if TYPE_CHECKING:
    from lotus_durable.testing.forms import Invalid, Refused
    from lotus_durable.testing.state import KeyState

DOCS = "https://docs.uselotus.io/errors/error-responses#"
SERVER_ERRORS = 500


def refusal(error: Refused) -> Answer:
    """Answer a refusal: one code, one sentence."""
    kind = "server-error" if error.status >= SERVER_ERRORS else "client-error"
    return drf_json(error.status, _problem(kind, error.detail, error.code))


def validation_error(error: Invalid) -> Answer:
    """Answer what does not fit: the first error on top, all of them in ``validation_errors``."""
    first = error.errors[0]
    problem = _problem("validation-error", first.detail, first.code)
    problem["validation_errors"] = [{"code": one.code, "detail": one.detail, "attr": one.attr} for one in error.errors]
    return drf_json(400, problem)


def key_problem(key_state: KeyState, key: str | None) -> Answer | None:
    """Answer a key that is not valid, with its first characters, as the server repeats them."""
    if key_state == "valid":
        return None
    if not key:
        return drf_json(401, _problem("client-error", "No API key provided", "no_api_key_provided"))
    detail = f"API Key starting with {key[:5]} not known"
    return drf_json(401, _problem("client-error", detail, "api_key_not_known"))


def _problem(kind: str, detail: str, title: str) -> dict[str, Any]:
    return {"type": DOCS + kind, "detail": detail, "title": title}
