"""Questions by NATS request and reply: `<prefix>.v1.<tenant>.ask.<question>`, JSON both ways. Knows no question itself.

Of several processes one answers each. What can't be answered is answered with an `error`, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
import structlog

from sluiceway_contracts import Answer, Error, subjects
from sluiceway_contracts.asks import Question

from .bus.link import Heard, Link
from .checks import Refusal
from .dispatcher import NAME
from .errors import Unavailable
from .patience import surely

log = structlog.get_logger(__name__)
Q = TypeVar("Q", bound=Question)

AT_ONCE = 100
MAX_WAITING = 1000

Answering = Callable[[str, bytes], Awaitable[bytes]]
"""From a tenant and a question to its answer. Raises `Refusal`, which becomes the answer's error, or `Unavailable`."""


class Asks:
    """Answers the questions of all tenants, by the last token of their subject."""

    def __init__(self, link: Link, prefix: str, answering: Mapping[str, Answering]) -> None:
        self._link = link
        self._prefix = prefix
        self._answering = answering
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Answer until cancelled; then what was asked is answered yet, and others are asked."""
        start = f"{self._prefix}.{subjects.VERSION}.*.ask"
        ends = [await surely(self._link.receive, f"{start}.{name}", self._hear, queue=NAME) for name in self._answering]
        try:
            await asyncio.Event().wait()
        finally:
            if self._link.connected:
                await asyncio.gather(*(end() for end in ends))
            await asyncio.gather(*self._tasks)

    def _hear(self, message: Heard) -> None:
        if not self._is_answerable(message.reply) or len(self._tasks) >= MAX_WAITING:
            return
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_answerable(self, reply: str) -> bool:
        """Whether an answer goes to whoever asks, and not, by our permissions, into a stream, a bucket or a tenant."""
        return bool(reply) and not reply.startswith(("$", f"{self._prefix}."))

    async def _answer(self, message: Heard) -> None:
        async with self._at_once:
            *_, tenant, _, name = message.subject.split(".")
            try:
                answer = await self._answering[name](tenant, message.data)
            except Refusal as refusal:
                answer = _error(refusal.code, str(refusal))
            except Unavailable as error:
                answer = _error("unavailable", str(error))
            except Exception:  # one question's fault is no other's
                log.exception("ask.broken", question=name)
                answer = _error("internal", "the dispatcher broke over it; its log says where")
            try:
                await self._link.send(message.reply, answer)
            except Unavailable as error:
                log.info("ask.unanswered", question=name, why=str(error))


def answering(question: type[Q], answer: Callable[[str, Q], Awaitable[Answer]]) -> Answering:
    """An async function of a tenant and a question, as one from bytes to bytes."""
    decoder = msgspec.json.Decoder(question)

    async def from_bytes(tenant: str, payload: bytes) -> bytes:
        try:
            asked = decoder.decode(payload)
        except (ValueError, RecursionError) as error:
            raise Refusal("undecodable", f"the question can't be read: {error}") from error
        return msgspec.json.encode(await answer(tenant, asked))

    return from_bytes


def _error(code: str, message: str) -> bytes:
    return msgspec.json.encode(Answer(error=Error(code=code, message=message)))
