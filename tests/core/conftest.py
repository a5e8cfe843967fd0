"""A real nats-server for all tests of the runtime, and a rig: one service with a simulated provider on that server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway import accounts, config, plugins
from sluiceway.accounts import Served
from sluiceway.bus.link import Ack, Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Core, Nats
from sluiceway.http.client import Client
from sluiceway.service import Service
from sluiceway.simulator import AnySimulator
from sluiceway.testing.nats import NatsServer, nats_server
from sluiceway.testing.ports import free_port
from sluiceway.testing.provider import Provider
from sluiceway.wire import Request, Response
from sluiceway_contracts import Command, Event, MessageSend, Party, Text, uuid7

WAIT_S = 15
_numbers = itertools.count(1)

TWILIO = """
[nats]
url = "{url}"
prefix = "t{number}"
names = "T{number}"
[http]
listen = "127.0.0.1:{hooks}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:IDENTITY_KEY"
[connections.twilio-uk]
gateway = "sms.twilio"
sid = "AC00000000000000000000000000000001"
token = "env:TWILIO_TOKEN"
api_url = "http://127.0.0.1:{api}"
[accounts.uk-sms]
connection = "twilio-uk"
tenant = "acme"
address = "tel:+447700900123"
[accounts.de-sms]
connection = "twilio-uk"
tenant = "acme"
address = "tel:+4915700000123"
"""
ENVIRONMENT = {"TWILIO_TOKEN": "0123456789abcdef", "IDENTITY_KEY": "an identity key for tests only", "LOFT": "grain"}


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One server for all tests; each uses subjects and streams of its own."""
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of one test's own, to be killed."""
    with nats_server(tmp_path / "nats") as server:
        yield server


def nats_settings(server: NatsServer) -> Nats:
    number = next(_numbers)
    return Nats(url=server.url, prefix=f"t{number}", names=f"T{number}")


@pytest.fixture
async def link(shared_nats: NatsServer) -> AsyncIterator[Link]:
    """A connection with a prefix and names of its own, without streams."""
    link = Link(nats_settings(shared_nats), "test")
    await link.connect()
    yield link
    await link.close()


async def until(condition: Callable[[], Any], what: str, within_s: float = WAIT_S) -> None:
    """Wait until something holds; fail with `what` where it never does."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                result = condition()
                if await result if isinstance(result, Awaitable) else result:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"never happened: {what}")


class Rig:
    """A service, its NATS, and its provider."""

    def __init__(self, core: Core, served: accounts.Accounts, api_port: int, *, dispatches: bool = True) -> None:
        self.core = core
        self.accounts = served
        self.service = Service(core, served, dispatches=dispatches)
        self.link = self.service.link
        self.client = Client()
        connection = next(iter(served.connections.values()))
        self.hook_url = f"{core.http.base_url}/hooks/{connection.hook}"
        self.simulator: AnySimulator = plugins.simulator(connection.gateway)(connection.settings, self.hook_url)
        self.provider = Provider(self.simulator, f"127.0.0.1:{api_port}")

    async def start(self) -> None:
        await self.provider.start()
        await self.service.start()
        await until(lambda: self.service.ready or self.service.fatal, "the service is ready")

    async def stop(self) -> None:
        await self.service.stop()
        await self.provider.stop()
        await self.client.close()

    def account(self, name: str = "uk-sms") -> Served:
        return next(served for served in self.accounts if served.name == name)

    async def text(self, words: str, sender: str = "+447700900456", account: str = "uk-sms") -> Response:
        """A customer's text, delivered as the provider delivers it."""
        return await self.deliver(self.simulator.deliver(self.account(account).account, sender, words))

    async def deliver(self, request: Request) -> Response:
        return await self.client.exchange(request)

    async def command(self, data: bytes, where: str) -> Ack:
        """Raw bytes on a command subject below the tenant."""
        return await self.link.publish(f"{self.core.nats.prefix}.v1.acme.commands.{where}", data)

    async def send(self, words: str = "On its way.", *, account: str = "uk-sms", **fields: Any) -> Command:
        """A message.send for an account, published."""
        parts = fields.pop("parts", (Text(text=words),))
        data = MessageSend(
            message_id=fields.pop("message_id", uuid7()), author=Party(role="agent"), parts=parts, **fields
        )
        command = Command(
            tenant="acme",
            source="/acme/apps/desk",
            channel=next(iter(self.accounts)).channel,
            account=account,
            subject=fields.get("conversation_id"),
            data=data,
        )
        await self.link.publish(command.nats_subject(self.core.nats.prefix), command.encode(), command.headers())
        return command

    async def stream(self, name: str = "EVENTS") -> list[tuple[str, bytes]]:
        """Everything that a stream holds: subject and data, in order."""
        stream = f"{self.core.nats.names}_{name}"
        info = msgspec.json.decode((await self.link.request(self.link.api(f"STREAM.INFO.{stream}"))).data)
        found = []
        for sequence in range(max(1, info["state"]["first_seq"]), info["state"]["last_seq"] + 1):
            request = msgspec.json.encode({"seq": sequence})
            message = await self.link.request(self.link.api(f"DIRECT.GET.{stream}"), request)
            headers = message.headers or {}
            found.append((headers["Nats-Subject"], message.data))
        return found

    async def events(self, type: str = "") -> list[Event]:
        """The events on the stream, of one type (without "sluiceway.") or all."""
        events = [Event.decode(data) for _, data in await self.stream()]
        return [event for event in events if not type or event.type == f"sluiceway.{type}"]

    async def until_event(self, type: str, count: int = 1) -> list[Event]:
        """Wait for so many events of a type."""

        async def enough() -> bool:
            return len(await self.events(type)) >= count

        await until(enough, f"{count} × {type}")
        return await self.events(type)


def load(tmp_path: Path, text: str, **values: Any) -> tuple[Core, accounts.Accounts]:
    file = tmp_path / "sluiceway.toml"
    file.write_text(text.format(**values))
    loaded = config.load(str(file), ENVIRONMENT)
    return loaded.core, accounts.of(loaded)


@asynccontextmanager
async def running(
    tmp_path: Path, server: NatsServer, text: str = TWILIO, *, dispatches: bool = True
) -> AsyncIterator[Rig]:
    """A rig with this configuration, started, and stopped afterwards."""
    api = free_port()
    values = {"url": server.url, "number": next(_numbers), "hooks": free_port(), "probes": free_port(), "api": api}
    core, served = load(tmp_path, text, **values)
    rig = Rig(core, served, api, dispatches=dispatches)
    try:
        await rig.start()
        yield rig
    finally:
        await rig.stop()


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Rig]:
    """A service with a Twilio connection, two accounts, and Twilio's simulator."""
    async with running(tmp_path, shared_nats) as rig:
        yield rig


@asynccontextmanager
async def linked(settings: Nats) -> AsyncIterator[Link]:
    """One more connection, as another replica would have."""
    link = Link(settings, "test")
    await link.connect(WAIT_S)
    try:
        yield link
    finally:
        await link.close()


@pytest.fixture
async def layout(link: Link) -> Layout:
    """The streams and buckets of `link`, made."""
    layout = Layout(link.settings)
    await ensure(link, layout, create=True)
    return layout
