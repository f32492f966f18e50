"""From Django's settings to the library's, and a check of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name for it
from django.utils.module_loading import import_string

import lotus_durable
from lotus_durable.config import Config, describe
from lotus_durable.errors import ConfigurationError
from lotus_durable.options import environment_name, unknown_setting
from lotus_durable.queue.directory import QueueDirectory


def given() -> dict[str, Any]:
    """Return the options that the project sets, by their names.

    Raises:
        ConfigurationError: ``LOTUS`` is no mapping, names what is no option, or ``ON_ERROR`` cannot be imported.
    """
    own = getattr(settings, "LOTUS", {})
    if not isinstance(own, Mapping):
        raise ConfigurationError(f"LOTUS: a dictionary is needed (it is {type(own).__name__})")
    names = [name for name, _, _ in describe()]
    found = {name: getattr(settings, environment_name(name), None) for name in names}
    found |= {str(name).lower(): value for name, value in own.items()}
    for name in sorted(set(found) - set(names)):
        raise ConfigurationError(f"LOTUS: {unknown_setting(name)}")
    if isinstance(found["on_error"], str):
        try:
            found["on_error"] = import_string(found["on_error"])
        except ImportError as error:
            raise ConfigurationError(f"LOTUS: on_error: {error}") from None
    return {name: value for name, value in found.items() if value is not None}


_applied: set[str] = set()


def apply() -> None:
    """Set them, as the settings of the library's module, and unset what was set so before.

    Where they cannot be understood nothing is changed: that is for the check to say.
    """
    try:
        options = given()
    except ConfigurationError:
        return
    for name in _applied | set(options):
        setattr(lotus_durable, name, options.get(name))
    _applied.clear()
    _applied.update(options)


def follow(*, setting: str, **_: Any) -> None:  # noqa: ANN401  # what Django sends
    """Apply what a test has overridden, and what is so no longer."""
    if setting == "LOTUS" or setting in {environment_name(name) for name, _, _ in describe()}:
        apply()


def check(**_: Any) -> list[CheckMessage]:  # noqa: ANN401  # what Django passes
    """Return what is wrong with the options, and with the queue directory if it exists.

    ``manage.py check`` and the start of a server say it.
    """
    try:
        config = Config.resolve(settings=given())
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
