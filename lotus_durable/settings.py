"""The default client behind the module's functions, and the module's settings."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from lotus_durable.imports import import_for_tracking

if TYPE_CHECKING:
    from lotus_durable.client import Client

_client: Client | None = None


class SettingsModule(ModuleType):
    """A module some of whose attributes are settings: assigning one takes effect at the next call."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in self.__annotations__:
            renew()
            import_for_tracking()


def client() -> Client:
    """Return the default client, made of the module's settings when it is first needed.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    return _client or _make()


def current() -> Client | None:
    """Return the default client if there is one."""
    return _client


def renew() -> None:
    """Let the next call make another default client; the old one finishes what it is doing."""
    global _client  # the one piece of module state: it is what a default client is
    old, _client = _client, None
    if old is not None:
        old.retire()


def _make() -> Client:
    global _client  # noqa: PLW0603  # see renew()
    import_for_tracking()
    from lotus_durable.client import Client
    from lotus_durable.config import Config

    module = sys.modules["lotus_durable"]
    # It is made by the first call, in a request perhaps: what is wrong with the disk is no reason to fail that.
    made = Client.from_config(
        Config.resolve(settings={name: getattr(module, name, None) for name in module.__annotations__}),
        needs_directory=False,
    )
    # Of two threads that come here at once, the second uses the first one's.
    _client = _client or made
    return _client
