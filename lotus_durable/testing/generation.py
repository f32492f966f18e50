"""What a generation of the server has to be able to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lotus_durable.testing.exchange import Answer, Request

Refusal = Callable[[str], str | None]
"""Given an idempotency id the rules accept: why it is refused all the same (an injected fault), or None."""


class Generation(Protocol):
    """Answers requests by the rules of one server; faults are none of its business but for single refusals."""

    def respond(self, request: Request, refuse: Refusal) -> Answer:
        """Answer one request and change the state accordingly."""

    def database_down(self) -> Answer:
        """Answer as while the database or cache cannot be reached."""
