"""Every error this package raises or hands to ``on_error``.

::

    LotusError
    ├── ConfigurationError (ValueError)   an option is missing or wrong
    │   └── QueueDirectoryError           the queue directory is unsafe or not usable
    ├── InvalidEvent (ValueError)         an argument of track_event is refused; names the field and the reason
    ├── QueueFull                         the event was not accepted: no room on disk and none in memory
    ├── QueueDamaged                      the queue directory holds something this version cannot read
    ├── DiskRefused                       the disk takes no writes; events wait in memory (to on_error)
    ├── DeliveryError                     something about delivery an operator should know (to on_error)
    │   ├── DeliveryBlocked               nothing can be sent, and why
    │   └── EventRefused                  the server refused this event for good
    └── APIError                          a call that answers failed
        ├── InvalidRequest (ValueError)   an argument is refused, here or by the server
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


class DiskRefused(LotusError):
    """The disk takes no writes; accepted events wait in this process's memory until it does."""


class DeliveryError(LotusError):
    """Something about delivery that an operator should know."""


class DeliveryBlocked(DeliveryError):
    """Nothing can be sent (wrong key, wrong URL, a proxy in between); everything is held."""


class EventRefused(DeliveryError):
    """The server refused this very event for good."""
