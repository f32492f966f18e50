"""Every error this package raises or hands to ``on_error``.

::

    LotusError
    ├── ConfigurationError (ValueError)   an option is missing or wrong
    │   └── QueueDirectoryError           the queue directory is unsafe or not usable
    ├── InvalidEvent (ValueError)         an argument of track_event is refused; names the field and the reason
    ├── QueueFull                         the event was not accepted: no room on disk and none in memory
    ├── QueueDamaged                      the queue directory holds something this version cannot read
    ├── QueueInUse                        the flusher does not let go of the queue for a change of its books
    ├── DiskRefused                       the disk takes no writes; events wait in memory (to on_error)
    ├── DeliveryError                     something about delivery an operator should know (to on_error)
    │   ├── DeliveryBlocked               nothing is sent, and why
    │   ├── DeliveryResumed               that is over
    │   ├── AttentionNeeded               it works still: a limit is near, or events are parked
    │   └── EventRefused                  the server refused this event for good
    └── APIError                          a call that answers failed
        ├── InvalidRequest (ValueError)   an argument is refused, here or by the server
        │   └── NotSupported              this generation of the server cannot do it
        ├── AuthenticationError           the API key is missing, wrong, revoked or expired
        ├── NotFound                      the thing named does not exist
        ├── Conflict                      it exists already, or its state does not allow the call
        ├── RateLimited                   too many requests
        ├── ServerError                   the server failed
        ├── UnexpectedAnswer              not an answer of Lotus: a wrong URL or a proxy in between
        └── ConnectionFailed              no answer at all
            └── Timeout                   no answer in time

No exception of requests, sqlite3, msgpack or filelock leaves the package, and none of these carries the API key.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class LotusError(Exception):
    """Base of every error of this package."""


class ConfigurationError(LotusError, ValueError):
    """An option is missing or wrong; the message names the option, its source and the reason."""


class QueueDirectoryError(ConfigurationError):
    """The queue directory is unsafe (others can write to it, somebody else owns it) or cannot be used."""


class InvalidEvent(LotusError, ValueError):
    """An argument of ``track_event`` is refused; nothing was written.

    Attributes:
        field: the argument or the path inside ``properties``, for example ``properties.items[3].price``.
        reason: why it is refused, one clause.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason

    def __reduce__(self) -> tuple[type[InvalidEvent], tuple[str, str]]:
        """Keep both arguments when the error crosses a process pool."""
        return type(self), (self.field, self.reason)


class QueueFull(LotusError):
    """The event was **not** accepted: the queue is at its limit, or the disk refuses and the memory buffer is full."""


class QueueDamaged(LotusError):
    """The queue directory holds something this version cannot read; nothing was changed."""


class QueueInUse(LotusError):
    """The flusher did not pause for a change, so nothing, or not all, was changed; the message names its process."""


class DiskRefused(LotusError):
    """The disk takes no writes; accepted events wait in this process's memory until it does."""


class DeliveryError(LotusError):
    """Something about delivery that an operator should know."""


class DeliveryBlocked(DeliveryError):
    """Nothing can be sent (wrong key, wrong URL, a proxy in between); everything is kept."""


class DeliveryResumed(DeliveryError):
    """Events are delivered again, after trouble that was reported."""


class AttentionNeeded(DeliveryError):
    """Everything still works, and somebody should look before it does not.

    Attributes:
        about: what it is: ``limit``, ``disk``, ``age``, ``parked`` or ``future``; empty if another process found it.
    """

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


class EventRefused(DeliveryError):
    """The server refused this very event for good."""


class APIError(LotusError):
    """A call that answers failed.

    Attributes:
        status: of the HTTP answer; None when there was none.
        code: the server's word for what is wrong, ``duplicate_resource`` for example; only the server of 2024 has them.
        detail: what the server says, cut short; empty when it said nothing.
        field_errors: its sentences by argument as sent; an empty name is the request as a whole.
        request_id: what ``X-Request-ID`` of the answer said, to look for in the server's log.
        outcome_unknown: the call may have taken effect although it failed: look before it is made again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        detail: str = "",
        field_errors: Mapping[str, tuple[str, ...]] | None = None,
        request_id: str | None = None,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail
        self.field_errors: dict[str, tuple[str, ...]] = dict(field_errors or {})
        self.request_id = request_id
        self.outcome_unknown = outcome_unknown


class InvalidRequest(APIError, ValueError):
    """An argument is refused: here, and then nothing was sent, or by the server, and then ``status`` is not None.

    Attributes:
        argument: the argument refused here, or its part, for example ``metadata.since``; None when the server did.
    """

    def __init__(self, message: str, *, argument: str | None = None, **facts: Any) -> None:  # noqa: ANN401  # APIError's
        super().__init__(message, **facts)
        self.argument = argument


class NotSupported(InvalidRequest):
    """The server in use is of a generation that cannot do this; the message says what can be done instead."""


class AuthenticationError(APIError):
    """The API key is missing, wrong, revoked or expired."""


class NotFound(APIError):
    """The customer, plan, subscription, … that is named does not exist."""


class Conflict(APIError):
    """It exists already, or its state does not allow the call; nothing was changed."""


class RateLimited(APIError):
    """Too many requests; nothing was changed.

    Attributes:
        retry_after: seconds the server asked to wait; None when it did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **facts: Any) -> None:  # noqa: ANN401  # APIError's
        super().__init__(message, **facts)
        self.retry_after = retry_after


class ServerError(APIError):
    """The server failed, or a proxy could not reach it."""


class UnexpectedAnswer(APIError):
    """Not an answer of Lotus to this call: a wrong URL, a proxy in between, or a version we do not know."""


class ConnectionFailed(APIError):
    """No answer at all.

    Attributes:
        sent: the request may have reached the server.
    """

    def __init__(self, message: str, *, sent: bool = False, **facts: Any) -> None:  # noqa: ANN401  # APIError's
        super().__init__(message, **facts)
        self.sent = sent


class Timeout(ConnectionFailed):
    """No answer in time."""
