"""The module's settings, and the default client behind the module's functions."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache, wraps
from types import ModuleType

from lotus_durable.client import Client
from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError, LotusError
from lotus_durable.event.ids import TrackedId
from lotus_durable.options import unknown_setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from typing import Any, Unpack

    from lotus_durable.option_types import Options

_module = sys.modules["lotus_durable"]  # once: a __del__ at the end of a program finds sys.modules empty
_client: Client | None = None


class SettingsModule(ModuleType):
    """A module with settings as attributes: an assignment takes effect at the next call."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set a setting, or what a test puts in the place of a function.

        Raises:
            ConfigurationError: there is no setting of that name; says which one may be meant.
        """
        is_module = isinstance(value, ModuleType) and value.__name__.startswith("lotus_durable.")
        if is_module and name in self.__annotations__:
            return  # the import of the package's folder of that name, which is no setting
        if not (name in self.__annotations__ or name in self.__all__ or name[0] == "_" or is_module):
            raise ConfigurationError(f"lotus_durable.{name}: {unknown_setting(name)}")
        super().__setattr__(name, value)
        if name in self.__annotations__:
            renew()

    def __dir__(self) -> list[str]:
        """List what users call, and the settings."""
        return sorted({*self.__all__, *self.__annotations__})


def client() -> Client:
    """Return the default client, made of the module's settings when it is first needed.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    return _client or _make()


def track_event(
    *,
    customer_id: str,
    event_name: str,
    properties: Mapping[str, object] | None = None,
    time_created: datetime | str | None = None,
    idempotency_id: str | None = None,
) -> str:
    """Call the default client's, whose docstring this gets: the module's own function, written out to be fast."""
    return TrackedId(
        (_client or _make()).track_event(
            customer_id=customer_id,
            event_name=event_name,
            properties=properties,
            time_created=time_created,
            idempotency_id=idempotency_id,
        )
    )


track_event.__doc__ = Client.track_event.__doc__


@cache
def function(name: str) -> Callable[..., Any]:
    """Return a method of the default client as a function of the module."""
    import inspect  # a process that only tracks needs none of these

    method: Callable[..., Any] = getattr(Client, name)

    @wraps(method)
    def call(*arguments: object, **named: object) -> object:
        # Without a client nothing was tracked, so there is nothing to wait for.
        if _client is None and name in ("join", "shutdown"):
            return None
        return getattr(client(), name)(*arguments, **named)

    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())[1:]
    vars(call).update(__signature__=signature.replace(parameters=parameters))
    call.__module__, call.__qualname__ = "lotus_durable", name  # where it is found when it is unpickled
    return call


def resolved() -> Config:
    """Return the options of the default client, without making it.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    return Config.resolve(settings=_settings()) if _client is None else _client.config


def configure(**settings: Unpack[Options]) -> None:
    """Set several settings at once, all of them or none. Others stay as they are; None means not set.

    Child processes may not have what their parent has set. Give this to a pool as its initializer:
    ``functools.partial(lotus_durable.configure, api_key=…, queue_dir=…)``.

    Args:
        settings: by their names, as for ``Client``.

    Raises:
        ConfigurationError: a value is wrong, or there is no setting of that name; nothing is set.
    """
    for name in settings:
        if name not in _module.__annotations__:
            raise ConfigurationError(f"lotus_durable.{name}: {unknown_setting(name)}")
    Config.resolve(settings={**_settings(), **settings})
    vars(_module).update(settings)
    renew()


def renew() -> None:
    """Have the next call make a new default client; the events of the old one are on disk."""
    global _client  # the one piece of module state: it is what a default client is
    old, _client = _client, None
    if old is not None:
        old.release()


def _settings() -> dict[str, object]:
    return {name: getattr(_module, name, None) for name in _module.__annotations__}


def _make() -> Client:
    global _client  # noqa: PLW0603  # see renew()
    made = Client.from_config(resolved())
    # Of two threads that come here at once, the second uses the first one's.
    _client = _client or made
    return _client


def look_at_import() -> None:
    """Have what earlier processes left behind delivered, if the environment alone has the settings for it.

    Not under pytest, where its plugin decides, and not in our own commands: `status` must change nothing, and `stop`
    must start nothing. If the environment is wrong, the first call says so: an import that fails would end a program
    that may still set the right values.
    """
    if _is_command() or "_pytest.config" in sys.modules:
        return
    with contextlib.suppress(LotusError):
        config = Config.resolve()
        if config.send and os.geteuid() != 0:
            Client.from_config(config)


def _is_command() -> bool:
    arguments: list[str] = getattr(sys, "argv", [])
    name = os.path.basename(arguments[0]) if arguments else ""
    if name == "-m":  # while Python looks for the module
        name = sys.orig_argv[-len(arguments)]
        if name.startswith("-"):  # the option and the module as one: -mlotus_durable
            name = name.partition("m")[2]
    return name in ("lotus-durable", "lotus_durable")
