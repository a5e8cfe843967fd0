"""What one conversation leaves in the streams, recorded from a real service: a text, its answer, and their receipts.

`Recording.copy` is the same for another customer: every id in it is another's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from sluiceway import accounts, config, plugins
from sluiceway.bus.link import Link
from sluiceway.http.client import Client
from sluiceway.service import Service
from sluiceway.testing.ports import free_port
from sluiceway.testing.provider import Provider
from sluiceway_contracts import Command, Event, MessageReceived, MessageSend, MessageStatus, Party, Text, uuid7

CONFIG = """
[nats]
url = "{url}"
[http]
listen = "127.0.0.1:{hooks}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:KEY"
[connections.twilio]
gateway = "sms.twilio"
sid = "AC00000000000000000000000000000001"
token = "env:TOKEN"
api_url = "http://127.0.0.1:{api}"
[accounts.main]
connection = "twilio"
tenant = "acme"
address = "tel:+447700900123"
"""
ENVIRONMENT = {"KEY": "k" * 32, "TOKEN": "0" * 32}
WORDS = "Good morning, my parcel has not come yet. Could you look where it is?"
ANSWER = "Good morning! It is with the driver and will be with you before noon."
KEPT = ("EVENTS", "COMMANDS", "IDENTITY", "MESSAGES", "STATE")
_IDS = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[A-Za-z0-9_]{20,}")
_TAIL = 8
LOOK_S, SETTLE_S = 0.1, 2.0
"""How often it is looked, and how long the projection has for its records."""
T = TypeVar("T")


class Kept(NamedTuple):
    """A message as it is stored, `HPUB`'s subject and the rest, cut where its ids are."""

    stream: str
    subject: list[bytes]
    headers: list[bytes]
    payload: list[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.payload))


class Recording(NamedTuple):
    """All messages of the conversation, those that were replaced left out."""

    messages: list[Kept]

    def copy(self, number: int, reply: bytes) -> bytes:
        """What to write to NATS for the conversation of this number; `reply` is where it is acknowledged, if at all."""
        tail = b"%08x" % number
        written = []
        for message in self.messages:
            subject, headers, payload = (
                tail.join(message.subject),
                tail.join(message.headers),
                tail.join(message.payload),
            )
            sizes = b"%d %d" % (len(headers), len(headers) + len(payload))
            written.append(b"HPUB %s %s%s\r\n%s%s\r\n" % (subject, reply and reply + b" ", sizes, headers, payload))
        return b"".join(written)


async def record(url: str, folder: Path) -> Recording:
    """Have the conversation, and read what it left. Raises `TimeoutError`."""
    ports = {name: free_port() for name in ("hooks", "probes", "api")}
    file = folder / "recorded.toml"
    file.write_text(CONFIG.format(url=url, **ports))
    loaded = config.load(str(file), ENVIRONMENT)
    served = accounts.of(loaded)
    connection = served.connections["twilio"]
    hook = f"{loaded.core.http.base_url}/hooks/twilio"
    simulator = plugins.simulator(connection.gateway)(connection.settings, hook)
    provider, client, service = Provider(simulator, f"127.0.0.1:{ports['api']}"), Client(), Service(loaded.core, served)
    await provider.start()
    await service.start()
    try:
        async with asyncio.timeout(60):
            await _until(partial(_is_ready, service))
            account = next(iter(served)).account
            await client.exchange(simulator.deliver(account, "+447700900456", WORDS))
            event = await _until(partial(_received, service.link))
            send = MessageSend(message_id=uuid7(), author=Party(role="agent"), parts=(Text(text=ANSWER),))
            command = Command(
                tenant="acme", source="/acme/desk", channel="sms", account="main", subject=event.subject, data=send
            )
            await service.link.publish(command.nats_subject(), command.encode(), command.headers())
            await provider.idle()
            await _until(partial(_is_told, service.link))
            await asyncio.sleep(SETTLE_S)
            return Recording([one for name in KEPT async for one in _stored(service.link, name)])
    finally:
        await service.stop()
        await provider.stop()
        await client.close()


async def _until(look: Callable[[], Awaitable[T | None]]) -> T:
    while True:
        if found := await look():
            return found
        await asyncio.sleep(LOOK_S)


async def _is_ready(service: Service) -> bool:
    return service.ready


async def _received(link: Link) -> Event | None:
    return next((event for event in await _events(link) if isinstance(event.data, MessageReceived)), None)


async def _is_told(link: Link) -> bool:
    told = [event.data for event in await _events(link) if isinstance(event.data, MessageStatus)]
    return any(data.status == "delivered" for data in told)


async def _events(link: Link) -> list[Event]:
    return [Event.decode(data) for _, _, data in await _read(link, "SLUICEWAY_EVENTS")]


async def _stored(link: Link, name: str) -> AsyncIterator[Kept]:
    stream = f"SLUICEWAY_{name}" if name in ("EVENTS", "COMMANDS") else f"KV_SLUICEWAY_{name}"
    for subject, headers, payload in await _read(link, stream):
        if not _IDS.search(subject.encode()):
            continue  # of the deployment, not of the conversation
        lines = [f"{key}: {value}" for key, value in headers.items()]
        head = "\r\n".join(["NATS/1.0", *lines, "", ""]).encode()
        yield Kept(stream, *(_cut(text) for text in (subject.encode(), head, payload)))


async def _read(link: Link, stream: str) -> list[tuple[str, dict[str, str], bytes]]:
    info = msgspec.json.decode((await link.request(link.api(f"STREAM.INFO.{stream}"))).data)
    found = []
    for sequence in range(max(1, info["state"]["first_seq"]), info["state"]["last_seq"] + 1):
        message = await link.request(link.api(f"DIRECT.GET.{stream}"), msgspec.json.encode({"seq": sequence}))
        headers = {key: str(value) for key, value in (message.headers or {}).items()}
        if "Status" not in headers:
            own = {key: value for key, value in headers.items() if not key.startswith("Nats-") or key == "Nats-Msg-Id"}
            found.append((headers["Nats-Subject"], own, message.data))
    return found


def _cut(text: bytes) -> list[bytes]:
    """The text without the tails of its ids, in pieces."""
    pieces, at = [], 0
    for found in _IDS.finditer(text):
        pieces.append(text[at : found.end() - _TAIL])
        at = found.end()
    return [*pieces, text[at:]]
