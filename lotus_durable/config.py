"""The configuration: one frozen :class:`Config` from arguments, module settings, the environment and defaults.

Each option is described once, here: its type, default, reader and help. The README's table and the command line's
help are made from it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import urlsplit

from lotus_durable.errors import ConfigurationError, LotusError, QueueDirectoryError

DEFAULT_HOST = "https://api.uselotus.io"
ENVIRONMENT_PREFIX = "LOTUS_"

OnError = Callable[[LotusError, list[dict[str, Any]]], object]
"""Called with the error and the events it is about (their wire fields; empty when it is about none)."""

Durability = Literal["process", "power"]
Backend = Literal["journal", "sqlite"]
Flusher = Literal["auto", "external"]
ApiVersion = Literal["auto", "2022", "2024"]
AccessFallback = Literal["none", "open", "closed"]

_MIB = 1 << 20
_DAY = 86_400.0


class Options(TypedDict, total=False):
    """The keyword arguments of :class:`~lotus_durable.Client`; see :class:`Config` for what they mean."""

    api_key: str | None
    api_key_file: str | os.PathLike[str] | None
    host: str
    queue_dir: str | os.PathLike[str] | None
    debug: bool
    on_error: OnError | None
    send: bool
    sync_mode: bool
    durability: Durability
    sync_interval: float
    flush_interval: float
    max_batch_events: int
    max_event_bytes: int
    max_queue_bytes: int
    upload_concurrency: int
    timeout: float | tuple[float, float]
    backend: Backend
    flusher: Flusher
    exit_timeout: float
    api_version: ApiVersion
    call_timeout: float
    access_cache_ttl: float
    access_fallback: AccessFallback


class _Refused(ValueError):
    """A reader refuses a value; the message is the reason."""


# Readers: from what an argument or an environment variable holds to the option's type.


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Refused("a non-empty string is needed")
    return value.strip()


def _api_key(value: object) -> str:
    key = _text(_content(value) if isinstance(value, _KeyFile) else value)
    if not key.isascii() or not key.isprintable():
        raise _Refused("it has characters that no HTTP header can carry")
    return key


def _host(value: object) -> str:
    text = _text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise _Refused(f"not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise _Refused("a URL such as https://lotus.example.com is needed")
    if parts.username is not None or parts.query or parts.fragment:
        raise _Refused("user names, queries and fragments have no place in it")
    return text


def _path(value: object) -> Path:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise _Refused("a path is needed")
    return Path(os.path.abspath(os.path.expanduser(value)))


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, str) and value.strip().lower() in known:
        return known[value.strip().lower()]
    raise _Refused("true or false is needed")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _Refused("a number is needed")
    try:
        number = float(value)
    except ValueError:
        raise _Refused("a number is needed") from None
    if not math.isfinite(number):
        raise _Refused("a finite number is needed")
    return number


def _seconds(least: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        number = _number(value)
        if number < least:
            raise _Refused(f"at least {least:g} seconds are needed")
        return number

    return read


def _count(least: int, most: int | None = None) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = _number(value)
        if number != int(number) or number < least or (most is not None and number > most):
            raise _Refused(f"a whole number from {least}{f' to {most}' if most else ''} is needed")
        return int(number)

    return read


def _one_of(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise _Refused(f"one of {', '.join(choices)} is needed")
        return str(value)

    return read


def _timeout(value: object) -> tuple[float, float]:
    if isinstance(value, str):
        value = tuple(value.split(",")) if "," in value else value
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:  # noqa: PLR2004  # connect and read
        raise _Refused("one number of seconds, or two (connect, read), are needed")
    connect, read = (_seconds(0.001)(each) for each in pair)
    return connect, read


def _callable(value: object) -> OnError:
    if not callable(value):
        raise _Refused("a callable (error, events) is needed")
    return value


@dataclass(frozen=True, slots=True)
class Constants:
    """What is no user's decision, with its reason; seconds and bytes. In Config, so that tests can shorten it."""

    segment_bytes: int = 16 * _MIB
    """Of one file of the journal: deleted as a whole, so small against max_queue_bytes, and large against its costs."""
    max_batch_bytes: int = 475_000
    """Of one request's body: below what proxies take by default (1 MB in nginx), and both servers."""
    parked_max_age: float = 7 * _DAY
    """How long a parked event is retried: a customer may be created some days after its first event."""
    parked_retry_interval: float = 60.0
    """Between two tries of a parked event."""
    probe_interval: float = 60.0
    """Between two probes while delivery is blocked: a person has to come first."""
    max_event_attempts: int = 20
    """Of one event that the server fails on while it takes others, before it is a dead letter."""
    idle_before_end: float = 30.0
    """How long a flusher with nothing to do waits for more: a start costs 0.2 s of processor time."""
    trusted_look: float = 0.5
    """For how long a process believes that somebody flushes: half of the second in which a dead one is replaced."""
    leaving_wait: float = 0.6
    """Longer than a look is trusted: what was written on the word of one is seen before a flusher ends."""
    hung_after: float = 10.0
    """Without a beat: a flusher beats twice a second, and ends itself when a step takes longer than it can."""
    told_after: float = 30.0
    """Without a delivery before it is told: shorter troubles are every deploy's."""
    told_interval: float = 60.0
    """Between two times that the same trouble is told on one host."""
    unreachable_before_making_way: float = 30.0
    """Without a connection before a process of other surroundings may try."""
    making_way_interval: float = 300.0
    """For how long surroundings that tried do not try again."""
    first_pause: float = 0.5
    """The longest random wait after a first failure; it doubles with each further one."""
    longest_pause: float = 60.0
    """The longest random wait ever."""
    grace: float = 8.0
    """After a request that the 2022 server may still work on (measured there: a repeat 8 s later is recognised)."""


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """In the place of a key: the file that holds it. Read only if no other source names a key first."""

    path: object


def _content(file: _KeyFile) -> str:
    path = _path(file.path)
    try:
        return path.read_text()
    except OSError as error:
        raise _Refused(f"the key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _Refused(f"the key file {path} holds no text") from None


def _option(read: Callable[[object], Any], default: object, about: str, *, environment: bool = True) -> Any:  # noqa: ANN401
    return field(default=default, metadata={"read": read, "help": about, "environment": environment})


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set. Seconds and bytes throughout.

    Raises:
        ConfigurationError: from :meth:`resolve`, naming the option, where it was set, and the reason.
    """

    api_key: str | None = field(
        default=None,
        repr=False,
        metadata={"read": _api_key, "help": "the key of your organisation", "environment": True},
    )
    api_key_file: Path | None = _option(
        _path, None, "a file that holds the key, such as a mounted secret; wins over an api_key set in the same way"
    )
    host: str = _option(_host, DEFAULT_HOST, "the Lotus server")
    queue_dir: Path = _option(_path, None, "the queue directory; default: a per-user state directory")
    debug: bool = _option(_flag, False, "log every step to standard error")  # noqa: FBT003
    on_error: OnError | None = _option(_callable, None, "called with (error, events)", environment=False)
    send: bool = _option(_flag, True, "False: validate only, write and send nothing")  # noqa: FBT003
    sync_mode: bool = _option(_flag, False, "True: track_event sends at once and waits for the verdict")  # noqa: FBT003
    durability: Durability = _option(
        _one_of("process", "power"), "process", "process: safe from kills; power: each event also from a power cut"
    )
    sync_interval: float = _option(_seconds(0.01), 1.0, "process durability: what a power cut can take, at most")
    flush_interval: float = _option(_seconds(0.01), 0.5, "how long an event waits for others to share a request with")
    max_batch_events: int = _option(_count(1), 500, "events in one request")
    max_event_bytes: int = _option(_count(256, 8 * _MIB), 32_768, "bytes of one event; larger ones are refused")
    max_queue_bytes: int = _option(_count(_MIB), 1024 * _MIB, "bytes of unsettled events; above, QueueFull")
    upload_concurrency: int = _option(_count(1, 64), 1, "requests in flight; more than 1 only for the 2024 server")
    timeout: tuple[float, float] = _option(_timeout, (5.0, 30.0), "to connect, and to wait for an answer")
    backend: Backend = _option(
        _one_of("journal", "sqlite"), "journal", "what the queue is made of: files of its own, or a SQLite database"
    )
    flusher: Flusher = _option(
        _one_of("auto", "external"),
        "auto",
        "who flushes: whoever tracks starts a flusher when there is none; or only the flusher command and drain()",
    )
    exit_timeout: float = _option(
        _seconds(0), 2.0, "how long a process that ends waits for what it tracked to be delivered"
    )
    api_version: ApiVersion = _option(
        _one_of("auto", "2022", "2024"), "auto", "which server the calls talk to; auto: it is asked, once a day"
    )
    call_timeout: float = _option(_seconds(0.001), 30.0, "how long a call that answers may take, with its retries")
    access_cache_ttl: float = _option(_seconds(0), 0.0, "how long get_customer_access may repeat an answer")
    access_fallback: AccessFallback = _option(
        _one_of("none", "open", "closed"),
        "none",
        "what get_customer_access answers when Lotus cannot be asked: an error, access, or no access",
    )
    constants: Constants = field(default=Constants(), metadata={})
    """What is no user's decision."""

    @classmethod
    def resolve(
        cls,
        arguments: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Config:
        """Return the configuration; arguments win over settings, settings over the environment, that over defaults.

        None, and an empty environment variable, count as not set.
        """
        unknown = sorted(set(arguments or {}) - {option.name for option in options()})
        if unknown:
            raise ConfigurationError(f"unknown option {unknown[0]!r}")
        arguments, settings = _with_key_file(arguments or {}), _with_key_file(settings or {})
        environ = _with_key_file(os.environ if environ is None else environ, environment_name)
        values: dict[str, Any] = {
            option.name: found
            for option in options()
            if (found := _find(option, arguments, settings, environ)) is not None
        }
        if "queue_dir" not in values:
            values["queue_dir"] = _default_queue_dir()
        return cls(**values)


def options() -> list[Field[Any]]:
    """Return the fields of Config that can be set."""
    return [option for option in fields(Config) if option.metadata]


def environment_name(option: str) -> str:
    """Return the environment variable of an option."""
    return ENVIRONMENT_PREFIX + option.upper()


def _with_key_file(source: Mapping[str, Any], name: Callable[[str], str] = lambda option: option) -> Mapping[str, Any]:
    """Return the source with the key file that it names, if so, in the place of the key."""
    file = source.get(name("api_key_file"))
    return {**source, name("api_key"): _KeyFile(file)} if file else source


def environment_options() -> set[str]:
    """Return the environment variables of all options that can be set so."""
    return {environment_name(option.name) for option in options() if option.metadata["environment"]}


def describe() -> list[tuple[str, str, str]]:
    """Return (name, default, help) of every option, for tables and help texts."""
    return [(option.name, _default_text(option), option.metadata["help"]) for option in options()]


def _default_text(option: Field[Any]) -> str:
    if option.default is None:
        return ""
    if isinstance(option.default, tuple):
        return ", ".join(f"{each:g}" for each in option.default)
    if isinstance(option.default, float):
        return f"{option.default:g}"
    return str(option.default)


def _find(
    option: Field[Any], arguments: Mapping[str, Any], settings: Mapping[str, Any], environ: Mapping[str, str]
) -> object:
    name = option.name
    variable = environment_name(name)
    sources: list[tuple[str, object]] = [
        (f"argument {name}", arguments.get(name)),
        (f"lotus_durable.{name}", settings.get(name)),
        (variable, (environ.get(variable) or None) if option.metadata["environment"] else None),
    ]
    for source, value in sources:
        if value is not None:
            try:
                return option.metadata["read"](value)
            except _Refused as refusal:
                shown = "" if name == "api_key" else f" (it is {value!r})"
                raise ConfigurationError(f"{source}: {refusal}{shown}") from None
    return None


def _default_queue_dir() -> Path:
    """Return ``$STATE_DIRECTORY/lotus`` under systemd (its first entry), else this user's state directory.

    Raises:
        QueueDirectoryError: the user has no home, so there is no such directory.
    """
    state_directory = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if state_directory:
        return Path(state_directory) / "lotus"
    home = os.path.expanduser("~")
    if sys.platform == "darwin":
        state = os.path.join(home, "Library", "Application Support")
    else:
        state = os.environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
    if not os.path.isabs(state):
        raise QueueDirectoryError(
            "queue_dir: none is set, and this user has no home directory for one; set it (lotus_durable.queue_dir or "
            "LOTUS_QUEUE_DIR)"
        )
    return Path(state) / "lotus_durable"
