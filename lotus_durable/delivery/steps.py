"""What happens between two requests of a place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from lotus_durable.errors import LotusError
from lotus_durable.queue.stats import FlusherState


class Steps(Protocol):
    """What a place asks and tells; :class:`~.control.Control` says more of each."""

    def enter(self, state: FlusherState, reason: str | None = None) -> bool:
        """Tell what is going on now, and why; return whether that is news."""

    def request(self, *, is_question: bool = False) -> AbstractContextManager[None]:
        """Name the request in flight before it is sent; not one whose end nobody has to wait for."""

    def reached(self, *, server: bool) -> None:
        """Note whether a connection could be made."""

    def key_is_refused(self) -> None:
        """Note that the server refuses the API key."""

    def sends(self, ids: Sequence[str]) -> tuple[list[str], bool]:
        """Note ids before they are sent to a server of 2022; return the new ones, and whether the others are any."""

    def does_not_have(self, ids: Iterable[str]) -> None:
        """Note that the server of 2022 does not have these ids."""

    def in_doubt(self, since: float) -> None:
        """Note that the server may be at work on a request that began then: whoever comes after us waits for it too."""

    def asked(self) -> int:
        """Return the number of the last drain that was asked for."""

    def answer(self, number: int, reason: str | None = None) -> None:
        """Say that everything asked for up to ``number`` was carried out, or why it cannot be now."""

    def wait(self, seconds: float, *, asked: int | None = None) -> None:
        """Wait, less long when a drain is asked for after number ``asked``; None: not for that."""

    def report(self, error: LotusError) -> None:
        """Have something that happened once told."""
