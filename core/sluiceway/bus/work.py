"""Work that waits in a stream and is given to whichever process asks next, each piece to one at a time, in no order.

What is not reported done comes again: soon where its process said so or died, later where it asked for that. Whoever
works must be able to do the same twice. Decides nothing about the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from ..errors import Unavailable
from .consumer import ConsumerError
from .inbox import RECONNECTED, Inbox
from .link import Link
from .position import position

log = structlog.get_logger(__name__)

PULL_EXPIRES_S = 20
ACK_WAIT_S = 30
MAX_WAITING = 10_000
RETRY_S = 0.25
REFUSED_S = 1.0

_WAITED = ("404", "408")


class Work(msgspec.Struct, frozen=True):
    """One piece. `sequence` is its number in the stream, `tries` how often it was given out, this time included.

    A server that was killed may count `tries` from 1 again.
    """

    data: bytes
    sequence: int
    tries: int
    _reply: str
    _link: Link

    async def done(self) -> None:
        """It need not come again: returns when the server knows. A lost word only brings it again."""
        try:
            await self._link.request(self._reply, b"+ACK")
        except Unavailable:
            log.info("work.word_lost")

    async def again(self, after_s: float = 0) -> None:
        """Let it come again, to whoever asks then."""
        await self._tell(b"-NAK " + msgspec.json.encode({"delay": int(after_s * 10**9)}) if after_s else b"-NAK")

    async def going_on(self) -> None:
        """It takes longer; give it to nobody else."""
        await self._tell(b"+WPI")

    async def _tell(self, word: bytes) -> None:
        try:
            await self._link.send(self._reply, word)
        except Unavailable:
            log.info("work.word_lost")


class Queue:
    """The work on one subject of a stream, at most `at_once` pieces of it in this process."""

    def __init__(self, link: Link, stream: str, durable: str, subject: str, at_once: int) -> None:
        self._link = link
        self._stream = stream
        self._durable = durable
        self._subject = subject
        self._at_once = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[None]] = set()

    async def create(self) -> None:
        """Make the durable, or find it as it is. Raises `ConsumerError` or `Unavailable`."""
        config = {
            "durable_name": self._durable,
            "filter_subject": self._subject,
            "ack_policy": "explicit",
            "ack_wait": ACK_WAIT_S * 10**9,
            "max_ack_pending": MAX_WAITING,
            "deliver_policy": "all",
        }
        body = msgspec.json.encode({"stream_name": self._stream, "config": config})
        call = self._link.api(f"CONSUMER.CREATE.{self._stream}.{self._durable}.{self._subject}")
        answer = await self._link.request(call, body, timeout_s=5)
        if not answer.data:
            raise Unavailable("JetStream does not answer")
        result = msgspec.json.decode(answer.data, type=dict[str, Any])
        if (error := result.get("error")) is not None:
            raise ConsumerError(f"{call.partition('.')[2]}: {error.get('description')}")

    async def run(self, carry_out: Callable[[Work], Awaitable[None]]) -> None:
        """Hand out work until cancelled; what is in hand is cancelled then, and given back."""
        try:
            while True:
                try:
                    await self._session(carry_out)
                except Unavailable:
                    await asyncio.sleep(RETRY_S)
                except ConsumerError as error:
                    log.error("work.refused", consumer=self._durable, error=str(error))
                    await asyncio.sleep(REFUSED_S)
                    await self._create_again()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _create_again(self) -> None:
        """It may have been deleted; where it is there, this changes nothing."""
        try:
            await self.create()
        except (Unavailable, ConsumerError) as error:
            log.error("work.not_made", consumer=self._durable, error=str(error))

    async def _session(self, carry_out: Callable[[Work], Awaitable[None]]) -> None:
        """Until the connection is lost: one piece asked for as soon as there is room for it."""
        async with Inbox(self._link) as inbox:
            while True:
                async with self._at_once:
                    pass  # as many as may be at once are in hand: wait for the first to end
                if (work := await self._next(inbox)) is None:
                    return
                await self._at_once.acquire()
                task = asyncio.create_task(self._one(work, carry_out))
                self._tasks.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._at_once.release()

    async def _next(self, inbox: Inbox) -> Work | None:
        """The next piece; None where the connection was lost. Raises `ConsumerError`."""
        call = self._link.api(f"CONSUMER.MSG.NEXT.{self._stream}.{self._durable}")
        request = msgspec.json.encode({"batch": 1, "expires": PULL_EXPIRES_S * 10**9})
        while True:
            await self._link.send(call, request, reply=inbox.subject)
            message = await inbox.next(PULL_EXPIRES_S + 2)
            if message is RECONNECTED:
                return None
            if message is not None and message.reply:
                at = position(message.reply)
                return Work(message.data, at.stream, at.delivered, message.reply, self._link)
            headers = (message.headers or {}) if message is not None else {}
            if (status := headers.get("Status", "408")) not in _WAITED:
                raise ConsumerError(f"{status} {headers.get('Description', 'no such consumer')}")

    async def _one(self, work: Work, carry_out: Callable[[Work], Awaitable[None]]) -> None:
        """Never raises but when it is cancelled: then it is somebody else's at once."""
        alive = asyncio.create_task(_keep(work))
        try:
            await carry_out(work)
        except asyncio.CancelledError:
            await work.again()
            raise
        except Exception:  # one piece's fault is no other's
            log.exception("work.broken", consumer=self._durable)
            await work.again(ACK_WAIT_S)
        finally:
            alive.cancel()


async def _keep(work: Work) -> None:
    while True:
        await asyncio.sleep(ACK_WAIT_S / 3)
        await work.going_on()
