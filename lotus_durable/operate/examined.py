"""What an examination finds: an answer to one question."""

from __future__ import annotations

from typing import Literal, TypeAlias

from lotus_durable.values import NamedTuple

Mark: TypeAlias = Literal["ok", "warning", "wrong"]


class Answer(NamedTuple):
    """What was found about one thing."""

    about: str
    mark: Mark
    text: str
    """What is; never the key."""
    remedy: str = ""
    """What to do."""
