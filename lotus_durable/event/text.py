"""Checking text: of any class of str, for what the servers cannot store; and naming values in messages."""

from __future__ import annotations

import builtins

_LONGEST_KEY_SHOWN = 60


def plain_text(value: object) -> str | None:
    """Give the characters of a ``str`` or of any subclass as a ``str``, whatever the subclass overrides; else None."""
    return str.__str__(value) if issubclass(type(value), str) else None


def text_fault(text: str) -> str | None:
    """Say what about ``text`` the servers cannot store, or None."""
    if "\0" in text:
        return "contains a NUL character, which the servers cannot store"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "contains a lone surrogate, which is not valid Unicode text"
    return None


def type_name(value: object) -> str:
    """Name the type of anything, even of an object whose metaclass raises; ``numpy.bool``, as it is not Python's."""
    try:
        name, module = str.__str__(type(value).__name__), type(value).__module__
        return f"{module}.{name}" if module != "builtins" and hasattr(builtins, name) else name
    except Exception:  # noqa: BLE001  # the name is for a message about something refused already
        return "something without a type name"


def path_step(name: str) -> str:
    """Write a key as one step of a path: ``.price``, or ``['unit price']``."""
    return f".{name}" if name.isidentifier() and len(name) <= _LONGEST_KEY_SHOWN else f"[{shown(name)}]"


def shown(name: str) -> str:
    """Write a key for a message, cut short; in ASCII, as a lone surrogate in a message cannot be written to any log."""
    return ascii(name if len(name) <= _LONGEST_KEY_SHOWN else f"{name[:_LONGEST_KEY_SHOWN]}...")
