"""A subject of our own for what a consumer sends, and word of a lost connection. Neither pulls nor acknowledges."""

from __future__ import annotations

import asyncio

from nats.aio.msg import Msg

from .link import Link

RECONNECTED = Msg(None, subject="reconnected")  # type: ignore[arg-type]  # belongs to no client


class Inbox:
    """For one session's messages. Whatever comes after its end is dropped by the server."""

    def __init__(self, link: Link) -> None:
        self.subject = link.new_inbox()
        self._link = link
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()

    async def __aenter__(self) -> Inbox:
        self._unsubscribe = await self._link.receive(self.subject, self._queue.put_nowait)
        self._link.on_reconnect.append(self._reconnected)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._link.on_reconnect.remove(self._reconnected)
        await self._unsubscribe()

    async def next(self, timeout_s: float) -> Msg | None:
        """The next message, `RECONNECTED`, or None when none came in time."""
        if not self._queue.empty():
            return self._queue.get_nowait()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._queue.get()
        except TimeoutError:
            return None

    def _reconnected(self) -> None:
        self._queue.put_nowait(RECONNECTED)
