"""The options' types, for annotations; no process that tracks imports it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, TypedDict

from lotus_durable.errors import LotusError

OnError = Callable[[LotusError, list[dict[str, Any]]], object]
"""Called with the error and the events it is about (their wire fields; empty when it is about none)."""

OnInvalid = Literal["raise", "report"]
Durability = Literal["process", "power"]
Backend = Literal["journal", "sqlite"]
Flusher = Literal["auto", "external"]
UploadConcurrency = int | Literal["auto"]
ApiVersion = Literal["auto", "2022", "2024"]


class Options(TypedDict, total=False):
    """The keyword arguments of :class:`~lotus_durable.Client`; see :class:`Config` for what they mean."""

    api_key: str | None
    api_key_file: str | os.PathLike[str] | None
    host: str
    relay_url: str | None
    queue_dir: str | os.PathLike[str] | None
    debug: bool
    on_error: OnError | None
    send: bool
    on_invalid: OnInvalid
    sync_mode: bool
    durability: Durability
    sync_interval: float
    flush_interval: float
    max_batch_events: int
    max_event_bytes: int
    max_queue_bytes: int
    max_events_per_second: int | None
    upload_concurrency: UploadConcurrency
    timeout: float | tuple[float, float]
    backend: Backend
    flusher: Flusher
    exit_timeout: float
    keep_delivered: float
    api_version: ApiVersion
    call_timeout: float
