"""Reading a stream in order, from any place on, with a consumer that leaves nothing behind. Acknowledges nothing.

An ordered consumer as in NATS's ADR-17, but pulled, so that a slow terminal never makes the server drop messages:
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-17.md
"""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from ..errors import SluicewayError, Unavailable
from .inbox import RECONNECTED, Inbox
from .link import Link
from .position import position

BATCH = 256
PULL_EXPIRES_S = 5
INACTIVE_S = 30
RETRY_S = 0.25
CALL_TIMEOUT_S = 5

_WAITED = ("404", "408")
_NO_STREAM, _NO_MESSAGE = 10059, 10037
"""nats-server's err_code (server/errors.json)."""

Since: TypeAlias = datetime.datetime | int | Literal["all"]
"""From a time, a sequence, or the first message on."""


class ReaderError(SluicewayError):
    """The stream can't be read; the text says what to do."""


class Stored(NamedTuple):
    """A message of the stream, and how many that were asked for were behind it when it was read."""

    sequence: int
    subject: str
    data: bytes
    pending: int = 0


class Reader:
    """Reads one stream."""

    def __init__(self, link: Link, stream: str) -> None:
        self._link = link
        self._stream = stream

    async def end(self) -> int:
        """The sequence that the next message will have. Raises `ReaderError` or `Unavailable`."""
        info = await self._call(f"STREAM.INFO.{self._stream}", {})
        return int(info["state"]["last_seq"]) + 1

    async def last(self, subject: str) -> Stored | None:
        """The latest message on a subject, wildcards allowed. Raises `ReaderError` or `Unavailable`."""
        try:
            answer = await self._call(f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": subject})
        except _Absent:
            return None
        found = msgspec.convert(answer["message"], _Message)
        return Stored(found.seq, found.subject, found.data)

    async def messages(self, subject: str, since: Since, *, follow: bool = True) -> AsyncGenerator[Stored, None]:
        """Messages on a subject, wildcards allowed, in order, each once; without `follow` it ends with what is there.

        Raises `ReaderError` or `Unavailable` where it can't begin; once it has, it waits while NATS is away.
        """
        begun = False
        while True:
            try:
                async with Inbox(self._link) as inbox:
                    consumer, pending = await self._create(subject, since)
                    begun = True
                    if follow or pending:
                        async for stored in self._session(consumer, inbox):
                            yield stored
                            since, pending = stored.sequence + 1, stored.pending
                            if not (follow or pending):
                                break
                    if not (follow or pending):
                        return
            except Unavailable:
                if not begun:
                    raise
                await asyncio.sleep(RETRY_S)

    async def _session(self, consumer: str, inbox: Inbox) -> AsyncIterator[Stored]:
        """Messages of one consumer, until it or the connection is lost, or one of its messages."""
        expected, left = 1, 0
        while True:
            if left == 0:
                await self._pull(consumer, inbox)
                left = BATCH
            message = await inbox.next(PULL_EXPIRES_S + 2)
            if message is None or message is RECONNECTED:
                return
            if message.reply:
                at = position(message.reply)
                if at.consumer != expected:
                    return
                expected, left = expected + 1, left - 1
                yield Stored(at.stream, message.subject, message.data, at.pending)
            elif (message.headers or {}).get("Status") in _WAITED:
                left = 0
            else:
                await asyncio.sleep(RETRY_S)
                return

    async def _create(self, subject: str, since: Since) -> tuple[str, int]:
        """A consumer of nobody else's that the server forgets by itself; its name, and how many messages are there."""
        name = os.urandom(9).hex()
        config: dict[str, Any] = {
            "name": name,
            "filter_subject": subject,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_S * 10**9,
        }
        match since:
            case "all":
                config["deliver_policy"] = "all"
            case int():
                config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": max(since, 1)}
            case _:
                config |= {"deliver_policy": "by_start_time", "opt_start_time": since}
        body = {"stream_name": self._stream, "config": config}
        answer = await self._call(f"CONSUMER.CREATE.{self._stream}.{name}.{subject}", body)
        return str(answer["name"]), int(answer.get("num_pending", 0))

    async def _pull(self, consumer: str, inbox: Inbox) -> None:
        call = self._link.api(f"CONSUMER.MSG.NEXT.{self._stream}.{consumer}")
        request = {"batch": BATCH, "expires": PULL_EXPIRES_S * 10**9}
        await self._link.send(call, msgspec.json.encode(request), reply=inbox.subject)

    async def _call(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        payload = msgspec.json.encode(body) if body else b""
        answer = await self._link.request(self._link.api(call), payload, timeout_s=CALL_TIMEOUT_S)
        if not answer.data:
            raise Unavailable("this NATS has no JetStream; start nats-server with --jetstream")
        result = msgspec.json.decode(answer.data, type=dict[str, Any])
        match result.get("error"):
            case None:
                return result
            case {"err_code": code} if code == _NO_STREAM:
                raise ReaderError(f"the stream {self._stream} is not there; `sluiceway up` or `run` creates it")
            case {"err_code": code} if code == _NO_MESSAGE:
                raise _Absent("no such message")
            case {"code": 503, "description": why}:
                raise Unavailable(f"JetStream can't answer now: {why}")
            case error:
                raise ReaderError(f"the stream {self._stream} can't be read: {error.get('description')}")


class _Absent(SluicewayError):
    """There is no such message."""


class _Message(msgspec.Struct):
    subject: str
    seq: int
    data: bytes = b""
