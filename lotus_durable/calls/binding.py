"""From a call, whose first parameter is the caller, to a method of the client and to a function of the module.

Signature, types and docstring are written once, with the call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from .caller import Caller

P = ParamSpec("P")
R = TypeVar("R")


class HasCaller(Protocol):
    """A client."""

    def caller(self) -> Caller:
        """Return what makes calls in this process."""


def method(call: Callable[Concatenate[Caller, P], R]) -> Callable[Concatenate[HasCaller, P], R]:
    """Return a call as a method of the client."""

    @functools.wraps(call)
    def answering(self: HasCaller, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return call(self.caller(), *args, **kwargs)

    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    _show(answering, call, f"Client.{call.__name__}", itself)
    return answering


def function(call: Callable[Concatenate[Caller, P], R], client: Callable[[], HasCaller]) -> Callable[P, R]:
    """Return a call as a function: a method of the client that ``client`` gives."""

    @functools.wraps(call)
    def answering(*args: P.args, **kwargs: P.kwargs) -> R:
        return call(client().caller(), *args, **kwargs)

    _show(answering, call, call.__name__)
    return answering


def _show(answering: object, call: Callable[..., object], name: str, *first: inspect.Parameter) -> None:
    """Let ``help()`` and editors show what is called, not how it is made."""
    signature = inspect.signature(call)
    parameters = [*first, *list(signature.parameters.values())[1:]]
    vars(answering).update(__signature__=signature.replace(parameters=parameters))
    setattr(answering, "__qualname__", name)  # noqa: B010  # a function, which mypy cannot see
