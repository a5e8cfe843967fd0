"""A durable consumer that one process at a time is pinned to; whoever gets the pin starts again at the ack floor.

nats-py has neither pinning nor the reset, so both are sent raw (nats-server 2.14 or newer). At most one of several
replicas is given messages; the others wait. Whoever receives must skip what it has already done: after each new pin,
everything that was not acknowledged comes again, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import structlog
from nats.aio.msg import Msg

from ..errors import SluicewayError, Unavailable
from .inbox import RECONNECTED, Inbox
from .link import Link
from .position import position

log = structlog.get_logger(__name__)

GROUP = "g"
PIN_TIMEOUT_S = 10
PULL_EXPIRES_S = 5
BATCH = 256
ACK_WAIT_S = 35 * 60
MAX_ACK_PENDING = 10_000
RETRY_S = 0.25
RELEASE_S = 2.0
REFUSED_S = 1.0

_WAITED = ("404", "408")


class ConsumerError(SluicewayError):
    """A consumer can't be made; the text is the server's."""


class Delivery(msgspec.Struct, frozen=True):
    """A message of a consumer.

    `epoch` tells under which pin it came: one of an older pin must not be acted upon. `again`: it was given to somebody
    before; a server that crashed may have forgotten that. `stored_at` is the server's time.
    """

    subject: str
    data: bytes
    epoch: int
    again: bool
    _reply: str
    _link: Link
    stored_at: float = 0.0

    @property
    def sequence(self) -> int:
        """Its number in the stream."""
        return position(self._reply).stream

    async def ack(self) -> None:
        """Tell the server that it is done. A lost acknowledgement only brings the message again."""
        try:
            await self._link.send(self._reply, b"+ACK")
        except Unavailable:
            log.info("consumer.ack_lost")


class Consumer:
    """`deliveries()` yields messages for as long as this process has the pin, and goes on when it gets it back.

    With `in_order`, acknowledging a message acknowledges all before it. `since` is all or new: what is there before the
    first start. `behind` is how many messages waited when the server last told, besides those that were given out;
    while another process has the pin, all that it has not acknowledged.
    """

    def __init__(
        self, link: Link, stream: str, durable: str, subject: str, *, in_order: bool = False, since: str = "all"
    ) -> None:
        self.epoch = 0
        self.behind = 0
        self._link = link
        self._stream = stream
        self._durable = durable
        self._subject = subject
        self._since = since
        self._ack_policy = "all" if in_order else "explicit"
        self._pin = ""
        self._given = 0

    async def create(self) -> None:
        """Make the durable, or find it as it is. Raises `ConsumerError` or `Unavailable`."""
        config = {
            "durable_name": self._durable,
            "filter_subject": self._subject,
            "ack_policy": self._ack_policy,
            "ack_wait": ACK_WAIT_S * 10**9,
            "max_ack_pending": MAX_ACK_PENDING,
            "deliver_policy": self._since,
            "priority_policy": "pinned_client",
            "priority_groups": [GROUP],
            "priority_timeout": PIN_TIMEOUT_S * 10**9,
        }
        body = msgspec.json.encode({"stream_name": self._stream, "config": config})
        await self._call(f"CONSUMER.CREATE.{self._stream}.{self._durable}.{self._subject}", body)

    @property
    def pinned(self) -> bool:
        """Whether messages come to this process. Nobody is pinned before the first message of all."""
        return bool(self._pin)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Messages, in order. Ends only by cancellation; while NATS is away it waits."""
        while True:
            try:
                if not self._pin:
                    await self._wait_for_pin()
                await self._start_over()
                async for delivery in self._session():
                    yield delivery
            except Unavailable:
                await asyncio.sleep(RETRY_S)
            except ConsumerError as error:
                log.error("consumer.refused", consumer=self._durable, error=str(error))
                await asyncio.sleep(REFUSED_S)
                await self._create_again()

    async def _create_again(self) -> None:
        """It may have been deleted; where it is there, this changes nothing."""
        try:
            await self.create()
        except (Unavailable, ConsumerError) as error:
            log.error("consumer.not_made", consumer=self._durable, error=str(error))

    async def _wait_for_pin(self) -> None:
        """Until a first message comes to us, which says that the pin is ours; the message itself comes again."""
        async with Inbox(self._link) as inbox:
            while True:
                await self._free_orphans()
                await self._pull(inbox, batch=1)
                message = await inbox.next(PULL_EXPIRES_S + 2)
                headers = (message.headers or {}) if message is not None else {}
                if message is RECONNECTED:
                    return
                if pin := headers.get("Nats-Pin-Id"):
                    self._pin = pin
                    return
                if (status := headers.get("Status", "408")) not in _WAITED:
                    raise ConsumerError(f"{status} {headers.get('Description', 'no such consumer')}")

    async def _free_orphans(self) -> None:
        """The server pins only with a message: what was given to a process that died must be given again first."""
        info = await self._call(f"CONSUMER.INFO.{self._stream}.{self._durable}", b"")
        self.behind = int(info.get("num_pending", 0)) + int(info.get("num_ack_pending", 0))
        pinned = any(group.get("pinned_client_id") for group in info.get("priority_groups", ()))
        if info.get("num_ack_pending") and not pinned:
            await self._call(f"CONSUMER.RESET.{self._stream}.{self._durable}", b"")

    async def waiting(self) -> int:
        """How many messages are not acknowledged yet. Raises `ConsumerError` or `Unavailable`."""
        info = await self._call(f"CONSUMER.INFO.{self._stream}.{self._durable}", b"")
        return int(info.get("num_pending", 0)) + int(info.get("num_ack_pending", 0))

    async def release(self) -> None:
        """Give the pin up, so that another replica need not wait for its time-out. Raises `Unavailable` soon."""
        if self._pin:
            self._pin = ""
            self.epoch += 1
            body = msgspec.json.encode({"group": GROUP})
            try:
                async with asyncio.timeout(RELEASE_S):
                    await self._call(f"CONSUMER.UNPIN.{self._stream}.{self._durable}", body)
            except TimeoutError:
                raise Unavailable("JetStream does not answer") from None

    async def _start_over(self) -> None:
        """From the ack floor again: another process, or the lost connection, may have had later messages in hand."""
        self.epoch += 1
        if self._pin:
            info = await self._call(f"CONSUMER.INFO.{self._stream}.{self._durable}", b"")
            self._given = int(info.get("delivered", {}).get("stream_seq", 0))
            await self._call(f"CONSUMER.RESET.{self._stream}.{self._durable}", b"")
            log.info("consumer.pinned", consumer=self._durable, epoch=self.epoch)

    async def _session(self) -> AsyncIterator[Delivery]:
        """Messages until the pin or the connection is lost."""
        async with Inbox(self._link) as inbox:
            left = 0
            while self._pin:
                if left <= BATCH // 4:
                    await self._pull(inbox, batch=BATCH)
                    left += BATCH
                message = await inbox.next(PULL_EXPIRES_S + 2)
                if message is None:
                    left = 0
                elif message is RECONNECTED:
                    return
                elif message.reply:
                    left -= 1
                    yield self._delivery(message)
                else:
                    left = max(0, left - self._unserved(message))

    def _delivery(self, message: Msg) -> Delivery:
        at = position(message.reply)
        self.behind = at.pending
        return Delivery(
            message.subject,
            message.data,
            epoch=self.epoch,
            again=at.stream <= self._given,
            _reply=message.reply,
            _link=self._link,
            stored_at=at.stored_ns / 1e9,
        )

    def _unserved(self, message: Msg) -> int:
        """How many messages of an earlier pull will not come, by the status that ended it."""
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "423":
            self._pin = ""
            self.epoch += 1
        elif status not in _WAITED:
            raise ConsumerError(f"{status} {headers.get('Description', 'no such consumer')}")
        return int(headers.get("Nats-Pending-Messages", BATCH))

    async def _pull(self, inbox: Inbox, batch: int) -> None:
        request = {"batch": batch, "expires": PULL_EXPIRES_S * 10**9, "group": GROUP}
        if self._pin:
            request["id"] = self._pin
        call = self._link.api(f"CONSUMER.MSG.NEXT.{self._stream}.{self._durable}")
        await self._link.send(call, msgspec.json.encode(request), reply=inbox.subject)

    async def _call(self, call: str, body: bytes) -> dict[str, Any]:
        answer = await self._link.request(self._link.api(call), body, timeout_s=5)
        if not answer.data:
            raise Unavailable("JetStream does not answer")
        result = msgspec.json.decode(answer.data, type=dict[str, Any])
        if (error := result.get("error")) is not None:
            raise ConsumerError(f"{call.partition('.')[2]}: {error.get('description')}")
        return result
