"""From Django's settings to the library's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

import lotus_durable
from lotus_durable.config import describe
from lotus_durable.errors import ConfigurationError
from lotus_durable.options import environment_name, unknown_setting


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
