"""The configuration: one :class:`Config` from arguments, module settings, the environment and defaults."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping

from lotus_durable.errors import ConfigurationError, QueueDirectoryError
from lotus_durable.options import DEFAULT_HOST, OPTIONS, KeyFile, environment_name, read_option, unknown_setting
from lotus_durable.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lotus_durable import option_types

_MIB = 1 << 20
_DAY = 86_400.0


class Constants(NamedTuple):
    """What users need not decide, each with its reason; seconds and bytes. In Config, so that tests can change it."""

    segment_bytes: int = 16 * _MIB
    """Size of a segment. It is deleted as a whole, so it is small against max_queue_bytes; a new file has its cost."""
    max_batch_bytes: int = 475_000
    """Of a request's body, at the most: less than proxies take by default (1 MB in nginx), and than both servers."""
    parked_max_age: float = 7 * _DAY
    """How long a parked event is tried, by the queue's clock: its customer may be created days later."""
    parked_retry_interval: float = 60.0
    """Between the first two tries of a parked event; it doubles up to 60 times that."""
    probe_interval: float = 60.0
    """Between two probes while delivery is blocked: a person has to mend something first."""
    max_event_attempts: int = 20
    """Tries of one event before it is given up. If the server fails on it, others must have passed between them."""
    failing_min_age: float = _DAY
    """How old an event must be to be given up because the server fails on it: such a server is mended within a day."""
    idle_before_end: float = 30.0
    """How long a flusher with nothing to do waits for more: a start costs 0.2 s of processor time."""
    trusted_look: float = 0.5
    """How long a process trusts its last look: half of the second within which a dead flusher is replaced."""
    leaving_wait: float = 0.6
    """How long a flusher without a lock waits before its last look at the queue: longer than others trust a look."""
    hung_after: float = 10.0
    """How long a flusher may write no heartbeat before it is ended: it writes two a second."""
    report_after: float = 30.0
    """How long nothing is delivered before that is reported: a deploy may take so long."""
    report_interval: float = 60.0
    """Between two reports of the same trouble on one host."""
    unreachable_before_making_way: float = 30.0
    """How long a flusher gets no connection before a process with another proxy, network or cgroup may try."""
    making_way_interval: float = 300.0
    """How long such a process does not try again."""
    first_pause: float = 0.5
    """The longest random pause after a first failure; it doubles with each further one."""
    longest_pause: float = 60.0
    """The longest random pause after any number of failures."""
    requeue_after: float = 300.0
    """How long a relay holds a message before it fetches it anew: a broker waits 30 minutes, and then closes."""
    grace: float = 8.0
    """How long the server of 2022 may work on a request that was given up. Measured: it knows a repeat after 8 s."""


class Config(NamedTuple):
    """Everything that can be set; :mod:`lotus_durable.options` says what each is for. Seconds and bytes throughout."""

    queue_dir: str
    api_key: str | None = None
    api_key_file: str | None = None
    host: str = DEFAULT_HOST
    relay_url: str | None = None
    debug: bool = False
    on_error: option_types.OnError | None = None
    send: bool = True
    on_invalid: option_types.OnInvalid = "raise"
    sync_mode: bool = False
    durability: option_types.Durability = "process"
    sync_interval: float = 1.0
    flush_interval: float = 0.5
    max_batch_events: int = 500
    max_event_bytes: int = 32_768
    max_queue_bytes: int = 1024 * _MIB
    max_events_per_second: int | None = None
    upload_concurrency: option_types.UploadConcurrency = "auto"
    timeout: tuple[float, float] = (5.0, 30.0)
    backend: option_types.Backend = "journal"
    flusher: option_types.Flusher = "auto"
    exit_timeout: float = 2.0
    keep_delivered: float = 0.0
    api_version: option_types.ApiVersion = "auto"
    call_timeout: float = 30.0
    constants: Constants = Constants()
    """What is no user's decision."""

    def __repr__(self) -> str:
        """Show all but the key, and the URL with a password in it."""
        hidden = ("api_key", "relay_url", "constants")
        shown = (f"{name}={value!r}" for name, value in self._asdict().items() if name not in hidden)
        return f"Config({', '.join(shown)})"

    def can_send(self) -> bool:
        """Whether it says all that it takes to flush: a relay has a key of its own."""
        return self.api_key is not None or self.relay_url is not None

    @classmethod
    def resolve(
        cls,
        arguments: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Config:
        """Return the configuration; arguments win over settings, settings over the environment, that over defaults.

        None, and an empty environment variable, count as not set.

        Raises:
            ConfigurationError: an option is wrong or unknown; names the option, where it was set, and the reason.
        """
        unknown = sorted(set(arguments or {}) - {option.name for option in OPTIONS})
        if unknown:
            raise ConfigurationError(f"argument {unknown[0]}: {unknown_setting(unknown[0])}")
        arguments, settings = _with_key_file(arguments or {}), _with_key_file(settings or {})
        environ = _with_key_file(os.environ if environ is None else environ, environment_name)
        values: dict[str, Any] = {}
        for option in OPTIONS:
            sources = (
                (f"argument {option.name}", arguments.get(option.name)),
                (f"lotus_durable.{option.name}", settings.get(option.name)),
                (option.variable, (environ.get(option.variable) or None) if option.in_environment else None),
            )
            for source, value in sources:
                if value is not None:
                    values[option.name] = read_option(option, source, value)
                    break
        if "queue_dir" not in values:
            values["queue_dir"] = default_queue_dir()
        return cls(**values)


def environment_options() -> set[str]:
    """Return the environment variables of all options that can be set so."""
    return {option.variable for option in OPTIONS if option.in_environment}


def describe() -> list[tuple[str, str, str]]:
    """Return (name, default, help) of every option, for tables and help texts."""
    return [(option.name, _default_text(option.name), option.help) for option in OPTIONS]


def _default_text(name: str) -> str:
    default = Config._field_defaults.get(name)
    if default is None:
        return ""
    if isinstance(default, tuple):
        return ", ".join(f"{each:g}" for each in default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _with_key_file(source: Mapping[str, Any], name: Callable[[str], str] = lambda option: option) -> Mapping[str, Any]:
    """Return the source with the key file that it names, if so, in the place of the key."""
    file = source.get(name("api_key_file"))
    return {**source, name("api_key"): KeyFile(file)} if file else source


_LONGEST_NAME = 1_000


def this_application() -> str:
    """Return which application this process belongs to, in printable ASCII: its virtual environment, or its folder.

    For a command of the Python installation itself (gunicorn in a container) it is the working directory.
    """
    found = sys.prefix
    if sys.prefix == sys.base_prefix:
        program = getattr(sys.modules.get("__main__"), "__file__", None)
        with contextlib.suppress(OSError):  # the working directory was removed
            folder = os.path.dirname(os.path.abspath(program)) if program else found
            found = os.path.abspath(".") if folder.startswith(found) else folder
    return ascii(found)[1:-1][:_LONGEST_NAME]


def default_queue_dir() -> str:
    """Return ``$STATE_DIRECTORY/lotus`` under systemd (its first entry), else this user's state directory.

    Raises:
        QueueDirectoryError: the user has no home, so there is no such directory.
    """
    state_directory = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if state_directory:
        return os.path.join(state_directory, "lotus")
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
    return os.path.join(state, "lotus_durable")
