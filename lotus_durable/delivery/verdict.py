"""What the server's answer to a batch means for each event in it. No I/O, no clock.

The rows were observed on the servers of 2022-09-28 and 2024-02-19, or read in their source. "4xx means drop" is wrong
on both: 400 covers already delivered, unknown customer, too large, and a bad key. Only this module says *delivered*,
and it says so for one event at a time, on the server's word for that event; what is not in this table is kept.

    answer                                                      outcome
    ----------------------------------------------------------  ----------------------------------------------------
    201 JSON, success all or some: id not in failed_events      Delivered
    id in failed_events, 201 or 400                             by its reason: see ``_by_reason``
    400: id not in failed_events, others are                    Retry
    failed_events name ids that are not ours, or "some" no id   Split; single event: by the reason, never Delivered
    400 none, "Invalid JSON"                                    Split; single event: Failing
    400 none, no failed_events                                  Blocked; to the empty probe it is the right answer
    413; 400 text/html "Bad Request"                            Split; single event: Blocked
    400 {"message": …}, {}, text about the API key; 401, 403    Blocked: the key
      as Lotus words it
    other 401, 403                                              Blocked: the key, or something on the way
    3xx, 404, 405, 415, 200; a 201 that is not this JSON        Blocked: the URL, or a proxy in between
    408, 429, 502, 503, 504, 460, 520 to 527, 530; no answer    RetryBatch: the outcome is unknown
    500                                                         RetryBatch, suspect
    anything else                                               Blocked: an answer we do not know

An outcome that is about no single event may be caused by this batch, if an empty one passes meanwhile: :mod:`.lotus`
finds out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from lotus_durable.http.answer import NOT_JSON, Answer, NoAnswer, excerpt, json_value, media_type, printable
from lotus_durable.values import NamedTuple

from .outcome import Blocked, Dead, Delivered, Failing, Outcome, Parked, Retry, RetryBatch, Settled, Split, Verdict

_DELIVERED = Delivered()
_ALREADY_KNOWN = ("Event idempotency already exists", "Duplicate event idempotency in request")
UNKNOWN_CUSTOMER = "Customer does not exist"
_INVALID = ("No customer_id provided", "Invalid time_created", "No idempotency_id provided")
_INVALID_BODY = "Invalid JSON"
_TOO_FAR = "Time created too far"
_BROKER = "Failed to produce event to kafka"
_BROKER_TOO_LARGE = "MESSAGE_TOO_LARGE"

_CREATED = 201
_LATE = (504, 524)
"""Something in front of the server gave up waiting, and the server may work on: as after a timeout of our own."""
OUTAGE = frozenset({408, 429, 460, 502, 503, 504, *range(520, 528), 530})
"""Of proxies: nginx and AWS (460: it thinks we left), and 52x and 530 of Cloudflare about the server behind it."""
_NOT_PASSED_ON = frozenset({501, 505, 511, 521, 523, *range(525, 528), 530})
"""Whoever says so has not passed the request on: 52x and 530 of Cloudflare, 511 of a network where one signs in."""
_CLIENT_CLOSED = 460
_FAILED = 500
"""The server's own word that it is at work no more. One above it is a proxy's, and the server may have the request."""
_REDIRECTS = range(300, 400)
_MIDDLE_OF_WINDOW = -14.5 * 86_400
"""Seconds from now. The server of 2024 takes events from 30 days ago to 1 day ahead."""


class _Batch(NamedTuple):
    ids: Sequence[str]
    times: Sequence[str]
    now: float


class _Report(NamedTuple):
    """The JSON in which both servers report on a batch."""

    success: str
    failed: Mapping[str, str]
    """Reasons by idempotency id."""
    accepting: bool
    """An id without a reason was accepted."""


def outcome_of(answer: Answer | NoAnswer, ids: Sequence[str], times: Sequence[str], *, now: float) -> Outcome:
    """Decide what becomes of a batch.

    Args:
        answer: what came back.
        ids: the idempotency ids in the order sent, each once.
        times: their ``time_created``, in the same order; looked at only where the server finds one too far away.
        now: unix seconds, for the same purpose: by the server's clock, if it has told.
    """
    if isinstance(answer, NoAnswer):
        after_timeout = answer.timed_out and answer.sent
        return RetryBatch(answer.reason, after_timeout=after_timeout, needs_person=answer.needs_person)
    return _by_status(answer, _Batch(ids, times, now))


def outcome_of_probe(answer: Answer | NoAnswer) -> Settled | RetryBatch | Blocked:
    """Decide what the answer to an empty batch means: ``Settled(())`` when host, key and server work."""
    outcome = outcome_of(answer, (), (), now=0.0)
    if isinstance(outcome, Split):  # of an empty batch nothing can be too large
        return Blocked(f"even an empty batch is refused ({outcome.reason}); check the host and its http:// or https://")
    return outcome


def generation_in(answer: Answer | NoAnswer) -> str | None:
    """Return which server takes a whole batch with these words, ``2022`` or ``2024``; None for any others."""
    value = json_value(answer) if isinstance(answer, Answer) and answer.status == _CREATED else None
    if not isinstance(value, dict) or value.get("success") != "all":
        return None
    return "2024" if "failed_events" in value else "2022"


def is_in_doubt(answer: Answer | NoAnswer) -> bool:
    """Tell whether the server may still be at work on the request that this came back for."""
    if isinstance(answer, NoAnswer):
        return answer.sent
    status = answer.status
    return status == _CLIENT_CLOSED or (status > _FAILED and status not in _NOT_PASSED_ON)


def _by_status(answer: Answer, batch: _Batch) -> Outcome:  # noqa: PLR0911  # a table: one return a row
    match answer.status:
        case 201 | 400 if (report := _report(answer)) is not None:
            return _by_report(answer, report, batch)
        case 400:
            return _by_text(answer, batch)
        case 401 | 403:
            return _bad_key(answer)
        case 200 | 201 | 404 | 405 | 415:
            return _bad_url(answer)
        case status if status in OUTAGE:
            return RetryBatch(excerpt(answer), answer.retry_after, after_timeout=status in _LATE)
        case 413:
            return _unread(f"too large: {excerpt(answer)}", batch)
        case 500:
            return RetryBatch(excerpt(answer), answer.retry_after, suspect=True)
    return _bad_url(answer) if answer.status in _REDIRECTS else _unlisted(answer)


def _by_text(answer: Answer, batch: _Batch) -> Outcome:
    """Read a 400 that reports on no event."""
    value = json_value(answer)
    text = excerpt(answer)
    if value == {} or (isinstance(value, dict) and "message" in value) or "api key" in text.lower():
        return _bad_key(answer)
    if "HTTPS port" in text:  # nginx: "The plain HTTP request was sent to HTTPS port", headed "400 Bad Request"
        return Blocked(f"the host takes only https ({text}); check that its URL begins with https://")
    if value is NOT_JSON and media_type(answer) == "text/html" and "Bad Request" in text:
        return _unread(f"refused unread, as when it is too large: {text}", batch)
    return _unlisted(answer)


def _report(answer: Answer) -> _Report | None:
    """Read ``{"success": …, "failed_events": {id: reason} or null or absent}``; anything else is not Lotus' word."""
    value = json_value(answer)
    if not isinstance(value, dict) or value.get("success") not in ("all", "some", "none"):
        return None
    failed = value.get("failed_events")
    if failed is None:
        failed = {}
    if not isinstance(failed, dict) or not all(isinstance(reason, str) for reason in failed.values()):
        return None
    success = value["success"]
    return _Report(success, failed, accepting=answer.status == _CREATED and success != "none")


def _by_report(answer: Answer, report: _Report, batch: _Batch) -> Outcome:
    if _INVALID_BODY in report.failed.values():
        # What we send is right. One bad node of two that breaks bodies says this of whatever comes.
        return Settled((Failing(_INVALID_BODY),)) if len(batch.ids) == 1 else Split(_INVALID_BODY)
    if not report.failed:
        return _nobody_named(answer, report, batch)
    strangers = report.failed.keys() - set(batch.ids)
    if strangers:
        return _strangers_named(report.failed[min(strangers)], batch)
    # `success` counts distinct failed ids and is not exact, so when it accepts, each id without a reason is accepted.
    # When it refuses, such an id was not accepted as far as we know: sending it again is harmless.
    unnamed = _DELIVERED if report.accepting else Retry(f"refused with its batch: {excerpt(answer)}")
    return Settled(
        tuple(
            _by_reason(report.failed[key], time_created, batch.now) if key in report.failed else unnamed
            for key, time_created in zip(batch.ids, batch.times, strict=True)
        )
    )


def _nobody_named(answer: Answer, report: _Report, batch: _Batch) -> Outcome:
    if not batch.ids and (report.accepting or report.success == "none"):
        return Settled(())
    if report.success == "none":
        reason = (
            f"the server accepts no event and gives no reason ({excerpt(answer)}); look at what is on the way to it"
        )
        return Blocked(reason, like_probe=True)
    if not report.accepting:
        return _unlisted(answer)
    if report.success == "all":
        return Settled((_DELIVERED,) * len(batch.ids))
    return _strangers_named('"some" were refused, and none is named', batch)


def _strangers_named(reason: str, batch: _Batch) -> Outcome:
    """Look by halves for the event that was refused under an id that is not ours, like ``no_idempotency_id``."""
    text = printable(reason)
    if len(batch.ids) > 1:
        return Split(f"refused under an id that was not sent: {text}")
    if not batch.ids:
        return Blocked(f"events were refused that were not sent: {text}; look at what is on the way to the server")
    verdict = _by_reason(reason, batch.times[0], batch.now)
    return Settled((Parked(text, unlisted=True) if isinstance(verdict, Delivered) else verdict,))


def _by_reason(reason: str, time_created: str, now: float) -> Verdict:
    if reason in _ALREADY_KNOWN:
        return _DELIVERED
    text = printable(reason)
    if reason == UNKNOWN_CUSTOMER:
        return Parked(text)
    if reason in _INVALID:
        return Dead(text)
    if reason.startswith(_BROKER):
        return Dead(text) if _BROKER_TOO_LARGE in reason else Retry(text)
    if reason.startswith(_TOO_FAR):
        is_past = _is_past(time_created, now)
        return Dead(text) if is_past else Parked(text, is_ahead=is_past is False)
    return Parked(text, unlisted=True)


def _is_past(time_created: str, now: float) -> bool | None:
    """Tell which end of the server's window an event missed: the nearer one. None where its time cannot be read."""
    try:
        moment = datetime.fromisoformat(time_created)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp() - now < _MIDDLE_OF_WINDOW


def _unread(reason: str, batch: _Batch) -> Outcome:
    # A part of it may not be too large; but a single event of ours never is.
    return Blocked(f"{reason}; check the proxies in between") if len(batch.ids) == 1 else Split(reason)


def _bad_key(answer: Answer) -> Blocked:
    value = json_value(answer)
    if answer.status in (401, 403) and not isinstance(value, dict):
        # Lotus says it in JSON. A firewall's 403 must send nobody looking for another key.
        return Blocked(f"refused with {excerpt(answer)}; check any firewall or proxy in between, and the API key")
    return Blocked(
        f"the server refuses the API key ({excerpt(answer)}); set a valid key, and check the host", by_key=True
    )


def _bad_url(answer: Answer) -> Blocked:
    return Blocked(f"this is not an answer of Lotus ({excerpt(answer)}); check the host and any proxy in between")


def _unlisted(answer: Answer) -> Blocked:
    return Blocked(f"an answer we do not know ({excerpt(answer)}); check the host and any proxy in between")
