"""The environment file: options in a file, because the environment of a running process cannot be changed.

A line is ``LOTUS_NAME=value``; blank lines and lines that begin with ``#`` or ``;`` say nothing. Quotes around a whole
value are taken off, as systemd does, and a value that only begins with one is an error; nothing else is expanded. Names
that do not begin with ``LOTUS_`` are somebody else's, whatever they look like, and so are those that Kubernetes makes
of a service called ``lotus``: the file may be one that a service manager reads too. Its values win over the
environment, because a service manager that reads the same file has put what was in it at the start there. They go
nowhere but into the configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from lotus_durable.config import environment_options
from lotus_durable.errors import ConfigurationError
from lotus_durable.options import ENVIRONMENT_PREFIX

VARIABLE = "LOTUS_ENV_FILE"


def environment(file: str | None) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the environment of this process with what the file says, and where that stands, by name.

    Args:
        file: its path; that in ``LOTUS_ENV_FILE`` if not given, and none if that is not set either.

    Raises:
        ConfigurationError: the file cannot be read, or it names an option that does not exist. The message holds no
            value: that may be a key.
    """
    file = file or os.environ.get(VARIABLE)
    if not file:
        return os.environ, {}
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigurationError(f"environment file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"environment file {file} holds no text") from None
    assigned, places = _assignments(file, lines)
    if "LOTUS_API_KEY" in assigned:
        assigned.setdefault("LOTUS_API_KEY_FILE", "")  # that of the environment would win over the key
    return {**os.environ, **assigned}, places


def _assignments(file: str, lines: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    known = environment_options()
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line[0] in "#;":
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name = name.strip()
        if not equals or not name or " " in name:
            raise ConfigurationError(f"environment file {file}, line {number}: NAME=value is needed")
        if not name.startswith(ENVIRONMENT_PREFIX) or _OTHERS.fullmatch(name):
            continue
        if name not in known:
            raise ConfigurationError(f"environment file {file}, line {number}: there is no option {name}")
        value = value.strip()
        if value[:1] in _QUOTES and not _is_quoted(value):
            raise ConfigurationError(f"environment file {file}, line {number}: {name}: no quote ends the line")
        found[name] = value[1:-1] if _is_quoted(value) else value
        places[name] = f"environment file {file}, line {number}"
    return found, places


_OTHERS = re.compile(r"LOTUS_(SERVICE_(HOST|PORT)|PORT)(_[A-Z0-9_]+)?")
"""What Kubernetes sets for a service that is called lotus."""
_QUOTES = ('"', "'")


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES
