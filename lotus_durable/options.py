"""Each option once: its name, how it is read, and what it is for.

The README's table and the command line's help are made from this. It is one file, because it is one table.
"""

from __future__ import annotations

import math
import os
import pwd  # noqa: F401  # expanduser imports it where there is no HOME, and nothing may be imported late
from collections.abc import Callable

from lotus_durable.errors import ConfigurationError
from lotus_durable.url import host_name
from lotus_durable.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_HOST = "https://api.uselotus.io"
ENVIRONMENT_PREFIX = "LOTUS_"
_MIB = 1 << 20
_LEAST_QUEUE = 64 * _MIB
"""Everything in the directory counts, also the space that is reserved for settling events: some 30 MiB."""
_LARGEST_EVENT = 400_000
"""Bytes; as JSON it takes up to six times as many, and the server of 2022 takes no request of more than 2.5 MiB."""


class Option(NamedTuple):
    """One option."""

    name: str
    read: Callable[[Any], object]
    """From what an argument or an environment variable holds to the option's type.

    Raises:
        Refused: the value is wrong; the message is the reason.
    """
    help: str
    in_environment: bool = True

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return environment_name(self.name)


class Refused(ValueError):
    """A value is refused; the message is the reason."""


# Readers: from what an argument or an environment variable holds to the option's type.


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused("a non-empty string is needed")
    return value.strip()


def _api_key(value: object) -> str:
    key = _text(_key_in(value) if isinstance(value, KeyFile) else value)
    if not key.isascii() or not key.isprintable():
        raise Refused("it has characters that no HTTP header can carry")
    return key


def _host(value: object) -> str:
    text = _text(value).rstrip("/")
    scheme, _, rest = text.partition("://")
    if scheme.lower() not in ("http", "https") or not rest:
        raise Refused("a URL such as https://lotus.example.com is needed")
    if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
        raise Refused("user names, queries and fragments have no place in it")
    if not host_name(text) or not text.isprintable() or " " in text:
        raise Refused("not a URL")
    return text


def _broker(value: object) -> str:
    text = _text(value)
    if text.partition("://")[0] not in ("amqp", "amqps") or not text.isprintable() or " " in text:
        raise Refused("a URL such as amqps://user:password@rabbit-1.example.com/vhost,rabbit-2.example.com is needed")
    return text


def _path(value: object) -> str:
    path = os.fsdecode(value) if isinstance(value, str | os.PathLike) else ""
    if not path or "\0" in path:
        raise Refused("a path is needed")
    path = os.path.expanduser(path)
    if path.startswith("~"):
        raise Refused("this user, or the one that it names, has no home directory")
    return os.path.abspath(path)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, str) and value.strip().lower() in known:
        return known[value.strip().lower()]
    raise Refused("true or false is needed")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refused("a number is needed")
    try:
        number = float(value)
    except (ValueError, OverflowError):  # of an integer of hundreds of digits
        raise Refused("a number is needed") from None
    if not math.isfinite(number):
        raise Refused("a finite number is needed")
    return number


def _seconds(least: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        number = _number(value)
        if number < least:
            raise Refused(f"at least {least:g} seconds are needed")
        return number

    return read


def _count(least: int, most: int | None = None) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = _number(value)
        if number != int(number) or number < least or (most is not None and number > most):
            raise Refused(f"a whole number from {least}{f' to {most}' if most else ''} is needed")
        return int(number)

    return read


def _auto_or(read: Callable[[object], int]) -> Callable[[object], object]:
    return lambda value: "auto" if value == "auto" else read(value)


def _one_of(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise Refused(f"one of {', '.join(choices)} is needed")
        return choices[choices.index(value)]  # not a member of an Enum that is equal to it

    return read


def _timeout(value: object) -> tuple[float, float]:
    if isinstance(value, str):
        value = tuple(value.split(",")) if "," in value else value
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:  # noqa: PLR2004  # connect and read
        raise Refused("one number of seconds, or two (connect, read), are needed")
    connect, read = (_seconds(0.001)(each) for each in pair)
    return connect, read


def _callable(value: object) -> Callable[..., object]:
    if not callable(value):
        raise Refused("a callable (error, events) is needed")
    return value


class KeyFile(NamedTuple):
    """Stands for a key that is in a file. The file is read only if no source that wins over this one has a key."""

    path: object


def _key_in(file: KeyFile) -> str:
    """Return the key in a file: as it is, in quotes, or as LOTUS_API_KEY=key; without an editor's byte order mark."""
    path = _path(file.path)
    try:
        with open(path, "rb") as opened:
            text = opened.read().removeprefix(_BOM).decode()
    except OSError as error:
        raise Refused(f"the key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"the key file {path} holds no text") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        raise Refused(f"the key file {path} holds {len(lines)} lines: the key and nothing else is needed")
    key = "".join(lines)
    name, equals, value = key.removeprefix("export ").partition("=")
    if equals and name.isidentifier() and name.isupper():
        if name != environment_name("api_key"):
            raise Refused(f"the key file {path} holds {name}=…: the key and nothing else is needed")
        key = value.strip()
    return key[1:-1].strip() if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'" else key


_BOM = b"\xef\xbb\xbf"


OPTIONS = (
    Option("api_key", _api_key, "the key of your organisation"),
    Option(
        "api_key_file",
        _path,
        "a file that holds the key, such as a mounted secret; wins over an api_key that is set in the same way",
    ),
    Option("host", _host, "the Lotus server"),
    Option("queue_dir", _path, "the queue directory, one for each application; default: a state directory of the user"),
    Option("debug", _flag, "log every step to standard error"),
    Option(
        "relay_url",
        _broker,
        "a RabbitMQ cluster that events are handed over to, for a relay (docs/fleets.md): "
        "amqps://user:password@host/vhost,host2,host3",
    ),
    Option("on_error", _callable, "your function, called with (error, events) about trouble", in_environment=False),
    Option("send", _flag, "False: only check events, write and send nothing"),
    Option(
        "on_invalid",
        _one_of("raise", "report"),
        "for a bad event; raise: track_event raises InvalidEvent; report: on_error is called, and it is a dead letter",
    ),
    Option("sync_mode", _flag, "True: track_event waits until the server has taken or refused the event"),
    Option(
        "durability",
        _one_of("process", "power"),
        "what an event survives; process: kills of any processes; power: a power cut, too",
    ),
    Option("sync_interval", _seconds(0.01), "how often the flusher syncs: a power cut takes no more than that"),
    Option("flush_interval", _seconds(0.01), "how long an event waits for others to share a request with"),
    Option("max_batch_events", _count(1), "events in one request, at the most"),
    Option("max_event_bytes", _count(256, _LARGEST_EVENT), "bytes of one packed event; larger ones are refused"),
    Option(
        "max_queue_bytes",
        _count(_LEAST_QUEUE),
        "bytes of everything in the queue directory; above, track_event raises QueueFull",
    ),
    Option("max_events_per_second", _count(1), "events sent to the server in a second, at the most; no limit if unset"),
    Option(
        "upload_concurrency",
        _auto_or(_count(1, 64)),
        "requests in flight; more than 1 only for the 2024 server; auto: up to 4 there, while a backlog waits for slow "
        "answers",
    ),
    Option("timeout", _timeout, "seconds to connect, and to wait for an answer"),
    Option(
        "backend",
        _one_of("journal", "sqlite"),
        "where this process appends events; journal: to a file of its own; sqlite: to a SQLite database",
    ),
    Option(
        "flusher",
        _one_of("auto", "external"),
        "who flushes; auto: a process that tracks starts a flusher when there is none; external: it does not",
    ),
    Option("exit_timeout", _seconds(0), "how long a process waits at its end until what it tracked is delivered"),
    Option(
        "keep_delivered",
        _seconds(0),
        "how long delivered events are kept, so that `lotus-durable verify` can ask about them",
    ),
    Option(
        "api_version",
        _one_of("auto", "2022", "2024"),
        "which kind of server the calls talk to; auto: it is asked",
    ),
    Option("call_timeout", _seconds(0.001), "how long a call that answers may take, with its retries"),
)


INSTEAD = {
    "flush_at": "max_batch_events does it here",
    "max_queue_size": "max_queue_bytes does it here, in bytes",
    "max_retries": "none is needed here: an event is tried until the server has it, or refuses it for good",
    "thread": "none is needed here: no thread runs in your process; see upload_concurrency",
    "gzip": "none is needed here: no server can read it",
    "strict": "none is needed here: answers are not refused for what is in them",
    "default_client": "make a lotus_durable.Client of your own",
    "previous_api_key_file": "run `lotus-durable adopt` with the new key once",
    "update_addon": "lotus-python has the name, and fails: no server can do it",
    "batch_create_customers": "call create_customer for each",
}
"""Settings and functions of lotus-python, and of earlier builds, that have another name here, or none."""


def unknown_setting(name: str) -> str:
    """Return the message about a setting that does not exist, with the one that may be meant."""
    if name in INSTEAD:
        return f"no setting {name}; {INSTEAD[name]}"
    from difflib import get_close_matches  # what raises may import

    plain = {option.name.replace("_", ""): option.name for option in OPTIONS}
    close = get_close_matches(name.lower().replace("_", ""), plain, 1)
    return f"no setting {name}" + (f"; did you mean {plain[close[0]]}?" if close else "")


def environment_name(name: str) -> str:
    """Return the environment variable of an option."""
    return ENVIRONMENT_PREFIX + name.upper()


def read_option(option: Option, source: str, value: object) -> object:
    """Return what an option is set to.

    Args:
        option: the option.
        source: where the value stands, for the message.
        value: what stands there.

    Raises:
        ConfigurationError: the value is wrong; the message has the value, unless that may hold a secret.
    """
    try:
        return option.read(value)
    except Refused as refusal:
        may_be_secret = option.name in ("api_key", "host", "relay_url")  # a URL may hold a password
        shown = "" if may_be_secret else f" (it is {value!r})"
        raise ConfigurationError(f"{source}: {refusal}{shown}") from None
