"""Tracks in coroutines, and in threads that they wait for."""

from __future__ import annotations

import asyncio

from tests.servers.apps.tracking import track


async def track_now_and_then(times: int) -> None:
    """Track, let others, and track again."""
    for _ in range(times):
        track()
        await asyncio.sleep(0)


async def main() -> None:
    """Do it."""
    await asyncio.gather(
        *(track_now_and_then(20) for _ in range(50)), *(asyncio.to_thread(track, 20) for _ in range(10))
    )


if __name__ == "__main__":
    asyncio.run(main())
