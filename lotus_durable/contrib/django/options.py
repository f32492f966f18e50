"""From Django's settings to the library's, and a check of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name for it
from django.utils.module_loading import import_string

import lotus_durable
from lotus_durable.errors import ConfigurationError
from lotus_durable.options import OPTIONS, unknown_setting
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.settings import resolved

_NAMES = {option.name: option.variable for option in OPTIONS}
_applied: set[str] = set()


def apply() -> None:
    """Set the project's options as the settings of the library's module, and unset what was set so before.

    What cannot be understood ends the start of the program: a server runs no check, and events would go elsewhere.

    Raises:
        ConfigurationError: ``LOTUS`` is no mapping, or names what is no option.
        ImportError: of ``ON_ERROR``.
    """
    own = getattr(settings, "LOTUS", {})
    if not isinstance(own, Mapping):
        raise ConfigurationError(f"LOTUS: a dictionary is needed (it is {type(own).__name__})")
    found = {name: getattr(settings, variable, None) for name, variable in _NAMES.items()}
    found |= {str(name).lower(): value for name, value in own.items()}
    for name in sorted(found.keys() - _NAMES.keys()):
        raise ConfigurationError(f"LOTUS: {unknown_setting(name)}")
    if isinstance(found["on_error"], str):
        found["on_error"] = import_string(found["on_error"])
    given = {name for name, value in found.items() if value is not None}
    for name in _applied | given:
        setattr(lotus_durable, name, found[name])
    _applied.clear()
    _applied.update(given)


def follow(*, setting: str, **_: Any) -> None:  # noqa: ANN401  # what Django sends
    """Apply what a test has overridden, and what is so no longer."""
    if setting in ("LOTUS", *_NAMES.values()):
        apply()


def check(**_: Any) -> list[CheckMessage]:  # noqa: ANN401  # what Django passes
    """Return what is wrong with the options, and with the queue directory if it exists. ``manage.py check`` says it."""
    try:
        config = resolved()
        QueueDirectory(config.queue_dir).check()
    except ConfigurationError as error:
        return [Error(str(error), hint="See LOTUS in the settings, and LOTUS_ variables.", id="lotus_durable.E001")]
    except FileNotFoundError:
        pass  # it is made with the first event
    except OSError as error:
        return [Error(f"queue_dir {config.queue_dir} cannot be used: {error}", id="lotus_durable.E002")]
    if config.send and not config.can_send():
        return [
            Warning(
                "No API key is set: events are kept on disk, and another process must upload them.",
                hint="Set API_KEY or API_KEY_FILE in LOTUS, or LOTUS_API_KEY in the environment.",
                id="lotus_durable.W001",
            )
        ]
    return []
