"""Integers the server of 2024 does not keep exactly: said once in a process, and in none that it forks after that."""

from __future__ import annotations

from collections.abc import Iterable

from lotus_durable.event.text import path_step
from lotus_durable.log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lotus_durable.event.record import JsonValue

EXACT_AS_FLOAT = 2**53
"""Integers up to this, of either sign, are kept by a server that stores numbers as floats of 64 bits."""

_said: dict[str, object] = {}


def warning_was_given() -> bool:
    """Say whether nothing is left to be said about such an integer."""
    return bool(_said)


def warn_of_rounding(properties: dict[str, JsonValue]) -> None:
    """Say, the first time, where in these properties an integer will be rounded."""
    path = _path_of_rounded(properties, "properties")
    mark = object()
    # In one step: of two threads one says it, and a handler that tracks such an event itself does not come back here.
    if path is not None and _said.setdefault("it", mark) is mark:
        logger.warning(
            "%s: an integer beyond 2**53 is stored rounded by the server of 2024; str() of it is kept (said once)", path
        )


def _path_of_rounded(value: JsonValue, path: str) -> str | None:
    if type(value) is int:
        return None if -EXACT_AS_FLOAT <= value <= EXACT_AS_FLOAT else path
    inner: Iterable[tuple[str, JsonValue]] = ()
    if isinstance(value, dict):
        inner = ((path_step(name), item) for name, item in value.items())
    elif isinstance(value, list):
        inner = ((f"[{index}]", item) for index, item in enumerate(value))
    return next(filter(None, (_path_of_rounded(item, path + step) for step, item in inner)), None)
