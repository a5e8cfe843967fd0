"""A rig with two channels that reach the same telephones: SMS, and a chat that is SMS by another name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from sluiceway import accounts, plugins
from sluiceway.config import Connection, Core
from sluiceway.ledger import Ledger, MessageRecord
from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway.wire import Response
from sluiceway_contracts import Command, Event, MessageSend, MessageStatus, Party, Text, uuid7

from .conftest import TWILIO, Rig, _numbers, load, until

CUSTOMER = "+447700900456"
CHAT_SENDER = "+447700900124"


class TwoChannels(Rig):
    """`uk-sms` on SMS, `uk-chat` on chat."""

    async def chat(self, words: str, sender: str = CUSTOMER) -> None:
        """A customer's words, by chat."""
        connection = self.accounts.connections["chat"]
        hook = f"{self.core.http.base_url}/hooks/chat"
        simulator = plugins.simulator("sms.twilio")(connection.settings, hook)
        await self.deliver(simulator.deliver(self.account("uk-chat").account, sender, words))

    async def customer(self, sender: str = CUSTOMER) -> str:
        """Somebody who wrote by SMS, then by chat; their conversation."""
        await self.text("Where is my order?", sender)
        await self.chat("Hello?", sender)
        return (await self.events("message.received"))[-1].subject or ""

    async def ask_to_send(self, words: str = "On its way.", **fields: Any) -> Command:
        """A message.send that names no account, published."""
        envelope = {name: fields.pop(name) for name in ("channel", "account", "id") if name in fields}
        parts = fields.pop("parts", (Text(text=words),))
        message_id = fields.pop("message_id", None) or uuid7()
        data = MessageSend(message_id=message_id, author=Party(role="agent"), parts=parts, **fields)
        command = Command(tenant="acme", subject=fields.get("conversation_id"), data=data, **envelope)
        await self.link.publish(command.nats_subject(self.core.nats.prefix), command.encode(), command.headers())
        return command

    @property
    def sent(self) -> list[tuple[str, str]]:
        """What the provider was asked to send: from which channel, and what."""
        names = {"+447700900123": "sms", CHAT_SENDER: "chat"}
        return [(names[request.form["From"]], request.form["Body"]) for request in self.provider.requests]

    async def statuses(self) -> list[tuple[int, str]]:
        """Attempt and status of each that was told."""
        told = [event.data for event in await self.events("message.status")]
        return [(data.attempt, data.status) for data in told if isinstance(data, MessageStatus)]

    async def until_status(self, attempt: int, status: str) -> None:
        async def there() -> bool:
            return (attempt, status) in await self.statuses()

        await until(there, f"attempt {attempt} is {status}")

    async def record(self, command: Command, attempt: int = 1) -> MessageRecord:
        ledger = Ledger(
            self.link, f"{self.core.nats.names}_MESSAGES", self.service._identity, f"{self.core.nats.names}_IDENTITY"
        )
        assert isinstance(command.data, MessageSend)
        entry = await ledger.get("acme", command.data.message_id, attempt)
        assert entry is not None
        return entry.value

    async def failure(self) -> Event:
        (failed,) = await self.until_event("command.failed")
        return failed

    def takes_and_is_silent(self, request: Any) -> Response:
        """The provider's answer where no receipt ever comes."""
        self.provider.requests.append(request)
        return self.simulator.answer(request).response


def _with_chat(core: Core, served: accounts.Accounts) -> accounts.Accounts:
    sms = served.connections["twilio-uk"]

    class Chat(sms.type):  # type: ignore[misc, name-defined]  # whatever class the configuration names
        channel = "chat"

    chat = Connection(name="chat", gateway=sms.gateway, hook="chat", type=Chat, settings=sms.settings)
    account = next(s.account for s in served if s.name == "uk-sms")
    ours = {s.name: s.account for s in served}
    ours["uk-chat"] = msgspec.structs.replace(account, connection="chat", address=f"tel:{CHAT_SENDER}")
    return accounts.Accounts({"twilio-uk": sms, "chat": chat}, ours, core.http.base_url, "sluiceway.toml")


@asynccontextmanager
async def two_channels(tmp_path: Path, server: NatsServer) -> AsyncIterator[TwoChannels]:
    """Started, and stopped afterwards."""
    api = free_port()
    values = {"url": server.url, "number": next(_numbers), "hooks": free_port(), "probes": free_port(), "api": api}
    core, served = load(tmp_path, TWILIO, **values)
    rig = TwoChannels(core, _with_chat(core, served), api)
    await rig.start()
    try:
        yield rig
    finally:
        await rig.stop()
