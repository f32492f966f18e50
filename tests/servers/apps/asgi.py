"""An ASGI application that tracks events in its coroutines: ``track_event`` is an ordinary call, and a short one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from .tracking import track

Message = dict[str, Any]


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer ``/track/N`` after tracking N events, each in a task of its own, and anything else at once."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    _, action, *rest = scope["path"].split("/")
    if action == "track":
        await asyncio.gather(*(_track() for _ in range(int(rest[0]))))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"%d\n" % os.getpid()})


async def _track() -> None:
    track()
