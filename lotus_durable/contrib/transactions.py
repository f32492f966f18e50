"""Tracking when a transaction commits: what Django's and SQLAlchemy's adapters share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lotus_durable import settings
from lotus_durable.client import Client
from lotus_durable.errors import InvalidEvent, LotusError
from lotus_durable.event.ids import random_id
from lotus_durable.log import logger


class CheckedEvent:
    """One event, checked when it is made, to be tracked by calling it when its transaction has committed.

    With ``on_invalid="report"`` an invalid one is tracked then as it is, and so reported: if its transaction commits.

    Args:
        client: None for the default client.
        arguments: of ``track_event``.

    Raises:
        InvalidEvent: an argument is refused; not with ``on_invalid="report"``.
        ConfigurationError: a setting is wrong.
    """

    def __init__(self, client: Client | None, **arguments: Any) -> None:  # noqa: ANN401  # typed by who calls this
        self._client = client or settings.client()
        try:
            self._arguments: Mapping[str, Any] = self._client.check_event(**arguments)
        except InvalidEvent:
            if self._client.config.on_invalid == "raise":
                raise
            self._arguments = {**arguments, "idempotency_id": arguments.get("idempotency_id") or random_id()}

    @property
    def idempotency_id(self) -> str:
        """Fixed when it was made."""
        return str(self._arguments["idempotency_id"])

    def __call__(self) -> None:
        """Track it. The transaction is committed, and nobody can be raised at: what goes wrong is told."""
        try:
            self._client.track_event(**self._arguments)
        except LotusError as error:
            logger.error("an event of a committed transaction is not accepted: %s", error)
            self._client.report(error, [dict(self._arguments)])
