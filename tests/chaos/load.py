"""Customers who write and applications that answer, each numbered; what was acknowledged is written down here.

A delivery is repeated under its MessageSid until it is answered 2xx, and only then the customer's next begins. A
command is published again under its Nats-Msg-Id until it is stored. Reads nothing back.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import nats
import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from sluiceway_contracts import Command, MessageSend, Party, Text, uuid7

from . import files
from .patience import NeverCame
from .world import PUBLIC_URL, TENANT, TOKEN, Gateway

ANSWER_S = 5
PAUSE_S = 0.1
PATIENCE_S = 60
RECEIPT_S = 0.3
AT_A_TIME = 3
"""Commands to one recipient, on average: those that wait for each other show whether order is kept."""
_sids = itertools.count(1)
_texts = itertools.count(1)


@dataclass
class Delivery:
    """One message of a customer, when it was first tried, and when first answered 2xx; None: never.

    `file` is the SHA-256 of what is sent with it.
    """

    sid: str
    customer: str
    began: float = 0.0
    acknowledged: float | None = None
    file: str | None = None


@dataclass
class Sent:
    """One command whose publish was acknowledged, with the words that the provider must get once."""

    command_id: str
    message_id: str
    recipient: str
    body: str
    stored: float = field(default_factory=time.monotonic)


def customer(number: int) -> str:
    """A telephone number."""
    return f"+447701{number:06}"


class Hook:
    """A line's hook at every replica, one of which is chosen at random each time. `refused` counts answers but 2xx."""

    def __init__(self, line: str, number: str, gateways: Sequence[Gateway], http: aiohttp.ClientSession) -> None:
        self.number = number
        self.refused = 0
        self.slowest_s = 0.0
        self._path = f"/hooks/{line}"
        self._gateways = gateways
        self._http = http

    async def deliver(self, fields: dict[str, str], subpath: str = "") -> bool:
        """Again and again, until it is answered 2xx; whether it was."""
        path = self._path + subpath
        headers = {"X-Twilio-Signature": _signature(PUBLIC_URL + path, fields)}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            began = time.monotonic()
            status = await self._post(random.choice(self._gateways), path, fields, headers)
            if status is not None:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                if 200 <= status < 300:
                    return True
                self.refused += 1
            await asyncio.sleep(PAUSE_S)
        return False

    async def _post(self, gateway: Gateway, path: str, fields: dict[str, str], headers: dict[str, str]) -> int | None:
        """The status; None where there is nobody, or no answer."""
        try:
            async with self._http.post(
                f"http://127.0.0.1:{gateway.hooks}{path}", data=fields, headers=headers
            ) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


class Receipts:
    """The provider's word that a message arrived, soon after it took it; `acknowledged` by the message's words."""

    def __init__(self, hook: Hook) -> None:
        self.acknowledged: set[str] = set()
        self._hook = hook
        self._tasks: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None

    def expect(self, to: str, body: str, sid: str) -> None:
        """Deliver one, where we are `delivering`."""
        if self._group is not None:
            task = self._group.create_task(self._one(to, body, sid))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until all have been taken, or given up."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    @contextlib.asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Deliver within; what is on its way at the end is given up, and none is begun afterwards."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None
                for task in self._tasks:
                    task.cancel()

    async def _one(self, to: str, body: str, sid: str) -> None:
        await asyncio.sleep(random.uniform(0, RECEIPT_S))
        fields = {"MessageSid": sid, "MessageStatus": "delivered", "From": self._hook.number, "To": to}
        if await self._hook.deliver(fields, "/status"):
            self.acknowledged.add(body)


class Customers:
    """They write to one line, each sequentially; its provider, at `url`, has the files that they send."""

    def __init__(self, hook: Hook, url: str) -> None:
        self.deliveries: list[Delivery] = []
        self.answers = 0
        self.hook = hook
        self._url = url

    async def talk(self, count: int, think_s: float, stop: asyncio.Event) -> None:
        """So many customers write until told to stop; what is begun then is still brought to its end."""
        await asyncio.gather(*(self._one(customer(n), think_s, stop) for n in range(count)))

    async def storm(self, messages: int, times: int, at_once: int) -> None:
        """Messages delivered so many times each, all mixed up."""
        deliveries = [self._new(customer(n % (messages // 10))) for n in range(messages)]
        queue = [delivery for delivery in deliveries for _ in range(times)]
        random.shuffle(queue)

        async def work() -> None:
            while queue:
                await self._deliver(queue.pop())

        await asyncio.gather(*(work() for _ in range(at_once)))

    async def _one(self, who: str, think_s: float, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._deliver(self._new(who))
            await asyncio.sleep(random.uniform(0, 2 * think_s))

    def _new(self, who: str) -> Delivery:
        sid = f"SM{next(_sids):032x}"
        delivery = Delivery(sid, who, file=files.digest(sid) if files.has_file(sid) else None)
        self.deliveries.append(delivery)
        return delivery

    async def _deliver(self, delivery: Delivery) -> None:
        fields = {
            "MessageSid": delivery.sid,
            "From": delivery.customer,
            "To": self.hook.number,
            "Body": f"This is {delivery.sid}",
            "NumMedia": "0",
        }
        if delivery.file is not None:
            where = self._url + files.PATH.format(sid=delivery.sid)
            fields |= {"NumMedia": "1", "MediaUrl0": where, "MediaContentType0": files.MIME}
        delivery.began = delivery.began or time.monotonic()
        if await self.hook.deliver(fields):
            self.answers += 1
            delivery.acknowledged = delivery.acknowledged or time.monotonic()


class Desk:
    """An application that writes to customers on one line, to each a few commands at once, then nothing for a while."""

    def __init__(self, line: str, connection: Client) -> None:
        self.sent: list[Sent] = []
        self._line = line
        self._connection = connection
        self._js = connection.jetstream(timeout=1)

    async def talk(self, count: int, think_s: float, stop: asyncio.Event, most: int) -> None:
        """Write to so many customers, at most so often to each."""
        await asyncio.gather(*(self._one(customer(n), think_s, stop, most) for n in range(count)))

    async def _one(self, recipient: str, think_s: float, stop: asyncio.Event, most: int) -> None:
        for _ in range(most):
            if stop.is_set():
                return
            await self._send(recipient)
            if random.random() < 1 / AT_A_TIME:
                await asyncio.sleep(random.uniform(0, 2 * AT_A_TIME * think_s))

    async def _send(self, recipient: str) -> None:
        body = f"Number {next(_texts)}"
        data = MessageSend(
            message_id=uuid7(), author=Party(role="agent"), parts=(Text(text=body),), to=(f"tel:{recipient}",)
        )
        command = Command(
            tenant=TENANT, source=f"/{TENANT}/apps/chaos", channel="sms", account=self._line, data=data
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                await self._js.publish(command.nats_subject(), command.encode(), headers=command.headers())
            except (TimeoutError, OSError, nats.errors.Error, APIError):
                await asyncio.sleep(PAUSE_S)
            else:
                self.sent.append(Sent(command.id, data.message_id, recipient, body))
                return


@contextlib.asynccontextmanager
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """What the customers' provider calls hooks with."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A connection of our own to NATS, which comes back by itself. Raises `NeverCame`."""

    async def ignore(error: Exception) -> None:
        """It is what a run is about."""

    options: dict[str, Any] = {
        "servers": url.split(","),
        "error_cb": ignore,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.1,
        "connect_timeout": 2,
        "ping_interval": 1,
    }
    try:
        async with asyncio.timeout(PATIENCE_S):
            connection = await nats.connect(**options)
    except TimeoutError as error:
        raise NeverCame(f"a connection to NATS did not come within {PATIENCE_S} s") from error
    try:
        yield connection
    finally:
        await connection.close()


def _signature(url: str, fields: dict[str, str]) -> str:
    """https://www.twilio.com/docs/usage/webhooks/webhooks-security"""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.digest(TOKEN.encode(), text.encode(), hashlib.sha1)).decode()
