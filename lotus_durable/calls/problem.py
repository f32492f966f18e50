"""From what came back for a call to the error to raise, for both generations of the server. Pure.

======================================================  ================================================
2022                                                    2024
======================================================  ================================================
``{"field": ["…"]}`` or ``["…"]``                       ``{"type": "…#validation-error", "detail": "…",
                                                        "title": "<code>", "validation_errors":
                                                        [{"code", "detail", "attr"}]}``
``{"detail": "…"}``                                     ``{"type": "…#client-error", "detail", "title"}``
``{"status": "error", "detail": "…"}``                  the same
403 ``{"detail": "Authentication credentials …"}``      401 like the one above; from the access endpoints 400
                                                        with text, ``{"message": "…"}`` or ``{}``
500 HTML                                                500 HTML or JSON
404 HTML: the path does not exist                       the same
======================================================  ================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from lotus_durable.errors import (
    APIError,
    AuthenticationError,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerError,
    Timeout,
    UnexpectedAnswer,
)
from lotus_durable.http.answer import NOT_JSON, Answer, NoAnswer, excerpt, json_value, media_type, printable
from lotus_durable.values import NamedTuple

_CONFLICTS = ("duplicate_resource", "invalid_state", "overlapping_plans")
_CONFLICT_WORDS = ("already exists", "already ended", "not active", "only active")
_NOT_FOUND_WORDS = ("not found", "does not exist", "must be a string beginning with the prefix")
"""The last is said of an id that the server of 2024 cannot have given, one of the server of 2022 for example."""
_CLIENT_CLOSED = (408, 460, 499)
"""A balancer, or nginx, says that it was we who did not wait: then the server may have done what was asked."""
_MOST_FIELD_ERRORS = 50


class Words(NamedTuple):
    """What a server says is wrong, in either generation's form."""

    detail: str = ""
    code: str | None = None
    field_errors: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def problem(call: str, answer: Answer | NoAnswer, *, changes: bool) -> APIError | None:
    """Return the error that an answer is, or None for a success with a JSON body.

    Args:
        call: its name, for the message.
        answer: what came back.
        changes: the call changes something, so that it matters whether it was carried out.
    """
    if isinstance(answer, NoAnswer):
        kind = Timeout if answer.timed_out else ConnectionFailed
        return kind(f"{call}: {answer.reason}", sent=answer.sent, outcome_unknown=changes and answer.sent)
    value = json_value(answer)
    if answer.status in (200, 201) and value is not NOT_JSON:
        return None
    words = server_words(value)
    raised = _kind(answer, value, words)
    detail = words.detail or excerpt(answer).partition(": ")[2]
    facts: dict[str, Any] = {
        "status": answer.status,
        "code": words.code,
        "detail": detail,
        "field_errors": words.field_errors,
        "request_id": answer.request_id,
        # Of a failure, and of an answer that is not Lotus' own, nobody knows what happened behind it.
        "outcome_unknown": changes and (raised is ServerError or (raised is UnexpectedAnswer and answer.status < 300)),  # noqa: PLR2004
    }
    if raised is RateLimited:
        facts["retry_after"] = answer.retry_after
    return raised(f"{call}: {_sentence(raised, answer, words)}", **facts)


def server_words(value: object) -> Words:
    """Read an error's body; empty when it is in none of the forms."""
    if isinstance(value, list):
        value = {"non_field_errors": value}
    if not isinstance(value, dict):
        return Words()
    code = value.get("title")
    detail = _text(value.get("detail")) or _text(value.get("message")) or _text(value.get("error"))
    by_field = dict(_validation_errors(value) if is_of_2024(value) else _field_errors(value))
    if by_field:  # these name the fields, which the sentence of 2024 does not
        detail = "; ".join(
            f"{name}: {' '.join(texts)}" if name else " ".join(texts) for name, texts in by_field.items()
        )
    return Words(printable(detail), printable(code) if isinstance(code, str) else None, by_field)


def is_of_2024(value: object) -> bool:
    """Tell whether an error's body is in the form of 2024."""
    kind = value.get("type") if isinstance(value, dict) and "title" in value else None
    return isinstance(kind, str) and kind.endswith("-error")  # else it may be a gateway's "about:blank" (RFC 7807)


def is_of_2022(value: object) -> bool:
    """Tell whether an error's body is in a form that only the server of 2022 has: sentences by field, or one alone."""
    if isinstance(value, list):
        return bool(value)
    if not isinstance(value, dict) or not value:
        return False
    return set(value) == {"detail"} or all(isinstance(texts, list) for texts in value.values())


def is_page(answer: Answer) -> bool:
    """Tell whether it is a web page: of Django, where a path does not exist, or of a proxy."""
    return media_type(answer) == "text/html"


def _kind(answer: Answer, value: object, words: Words) -> type[APIError]:  # noqa: PLR0911  # a table: one return a row
    match answer.status:
        case 400:
            return _kind_of_400(answer, value, words)
        case 401 | 403 if not is_page(answer):
            return AuthenticationError
        case 404 if isinstance(value, dict):
            return NotFound
        case 409:
            return Conflict
        case 413:
            return InvalidRequest
        case 429:
            return RateLimited
        case status if status >= 500 or status in _CLIENT_CLOSED:  # noqa: PLR2004
            return ServerError
    return UnexpectedAnswer


def _kind_of_400(answer: Answer, value: object, words: Words) -> type[APIError]:
    said = words.detail.lower()
    # Anything else that a server says may quote a name of the user's, and a plan may be called "API keys".
    says_no_more = value is NOT_JSON or (isinstance(value, dict) and value.keys() == {"message"})
    if value == {} or (says_no_more and "api key" in excerpt(answer).lower()):
        return AuthenticationError
    if value is NOT_JSON:
        return UnexpectedAnswer
    if words.code in _CONFLICTS or any(part in said for part in _CONFLICT_WORDS):
        return Conflict
    if any(part in said for part in _NOT_FOUND_WORDS):
        return NotFound
    return InvalidRequest


def _sentence(raised: type[APIError], answer: Answer, words: Words) -> str:
    said = f"HTTP {answer.status}: {words.detail}" if words.detail else excerpt(answer)
    if raised is AuthenticationError:
        return f"the server refuses the API key ({said})"
    if raised is UnexpectedAnswer:
        return f"this is not an answer of Lotus ({said}); check the host and any proxy in between"
    return said


def _field_errors(value: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, texts in list(value.items())[:_MOST_FIELD_ERRORS]:
        if isinstance(texts, list) and texts:
            shown = "" if name == "non_field_errors" else printable(name)
            yield shown, tuple(printable(_text(one) or "invalid") for one in texts[:_MOST_FIELD_ERRORS])


def _validation_errors(value: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    errors = value.get("validation_errors")
    found: dict[str, list[str]] = {}
    for one in errors[:_MOST_FIELD_ERRORS] if isinstance(errors, list) else []:
        if isinstance(one, dict):
            name = _text(one.get("attr"))
            shown = "" if name == "non_field_errors" else printable(name)
            found.setdefault(shown, []).append(printable(_text(one.get("detail"))))
    for name, texts in found.items():
        yield name, tuple(texts)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
