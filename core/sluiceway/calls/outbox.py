"""Where what the queue decided goes: the stream of events, the commands of accounts, the files to fetch, the clock.

Everything has an id that follows from what it is, so that NATS takes it once.
"""

from __future__ import annotations

import datetime
import hashlib

import msgspec

from sluiceway_contracts import CallStep, Command, Event, subjects

from ..bus.link import Link, Refused
from ..errors import Unavailable
from ..schedule import Schedule
from ..stream import EventStream
from .change import CHANNEL


async def give(link: Link, prefix: str, command: Command) -> None:
    """Publish a command. Raises `Unavailable`."""
    try:
        await link.publish(command.nats_subject(prefix), command.encode(), command.headers())
    except Refused as error:
        raise Unavailable(f"the stream of commands refuses: {error}") from error


class Outbox:
    """The `Post` of the switchboard."""

    def __init__(self, link: Link, prefix: str, stream: EventStream) -> None:
        self._link = link
        self._prefix = prefix
        self._start = f"{prefix}.{subjects.VERSION}"
        self._stream = stream
        self._schedule = Schedule(link, prefix)

    async def event(self, event: msgspec.Raw) -> None:
        """Publish it. Raises `Unavailable`."""
        await self._stream.publish(Event.decode(bytes(event)))

    async def command(self, command: msgspec.Raw) -> None:
        """Give it, as anybody would: the dispatcher hands it on under ids of its own. Raises `Unavailable`."""
        await give(self._link, self._prefix, Command.decode(bytes(command)))

    async def fetch(self, tenant: str, account: str, fetch: msgspec.Raw) -> None:
        """Have it fetched by whoever serves the account. Raises `Unavailable`."""
        headers = {"Nats-Msg-Id": f"{tenant}:{hashlib.sha256(fetch).hexdigest()}"}
        try:
            await self._link.publish(f"{self._start}.{tenant}.fetches.{CHANNEL}.{account}", bytes(fetch), headers)
        except Refused as error:
            raise Unavailable(f"the stream of files to fetch refuses: {error}") from error

    async def wake(self, tenant: str, at: datetime.datetime) -> None:
        """Have the queue of a tenant look again at this time. Raises `Unavailable`."""
        command = Command(
            tenant=tenant,
            source=f"/{tenant}/apps/sluiceway",
            actorrole="system",
            data=CallStep(call_id="", step="due"),
        )
        token = hashlib.sha256(f"calls:{command.id}".encode()).hexdigest()[:32]
        await self._schedule.give(command, at, token)
