"""The module's functions beside ``track_event``: methods of the default client. The first use imports this module."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from lotus_durable import settings
from lotus_durable.client import Client

_NEED_NO_CLIENT = ("join", "shutdown")
"""Without a client nothing was tracked, so there is nothing to wait for."""


@functools.cache
def function(name: str) -> Callable[..., Any]:
    """Return a method of the default client as a function."""
    method: Callable[..., Any] = getattr(Client, name)

    @functools.wraps(method)
    def call(*arguments: object, **named: object) -> object:
        client = settings.current() if name in _NEED_NO_CLIENT else settings.client()
        return None if client is None else getattr(client, name)(*arguments, **named)

    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())[1:]
    vars(call).update(__signature__=signature.replace(parameters=parameters))
    call.__module__, call.__qualname__ = "lotus_durable", name  # where it is found when it is unpickled
    return call
