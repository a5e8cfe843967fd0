"""The calls of each tenant as KV has them, and as the active dispatcher remembers them. Decides nothing about them.

What is decided is written first, with what follows from it, then sent: whoever finds it unsent sends it again.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator

import structlog
from msgspec.structs import replace

from ..bus.store import Conflict, Entry
from ..directory import Table
from ..errors import Unavailable
from ..identity import Identity
from ..sections import Calls
from .change import Change
from .ports import Post
from .records import ENDED, CallIndex, CallRecord, Desk, Open, call_key
from .room import Room

log = structlog.get_logger(__name__)

STALE = datetime.timedelta(hours=12)
"""What was to be told so long ago was told: NATS would not know it again."""


class Book:
    """The calls of all tenants."""

    def __init__(
        self,
        calls: Table[CallRecord],
        indexes: Table[CallIndex],
        desks: Table[Desk],
        *,
        post: Post,
        identity: Identity,
        settings: Calls,
        clock: Callable[[], datetime.datetime],
    ) -> None:
        self.post = post
        self.identity = identity
        self.now = clock
        self._calls = calls
        self._indexes = indexes
        self._desks = desks
        self._settings = settings
        self._rooms: dict[str, Room] = {}

    def forget(self, tenant: str | None = None) -> None:
        """Read a tenant's anew next time, or everybody's: what is remembered may not be what was written."""
        if tenant is None:
            self._rooms.clear()
        else:
            self._rooms.pop(tenant, None)

    async def find(self, tenant: str, call_id: str) -> Entry[CallRecord] | None:
        """A call, ended or not. Raises `Unavailable`."""
        return await self._calls.get(call_key(tenant, call_id))

    def change(self, room: Room, record: CallRecord, cause: str = "") -> Change:
        """A change of a call, because of the command `cause`."""
        return Change(room.tenant, record, self.now(), self.identity, cause)

    async def room(self, tenant: str) -> Room:
        """As it is remembered, else read; what a crash left unsent is sent. Raises `Conflict` or `Unavailable`."""
        if tenant not in self._rooms:
            room = await self.load(tenant)
            for entry in tuple(room.calls.values()):
                if entry.value.saved_at is not None and self.now() - entry.value.saved_at < STALE:
                    with alone(entry.value.call_id):
                        await self._send(tenant, entry.value)
                if entry.value.state == ENDED:
                    await self.close(room, entry.value.call_id)
            there = {id: entry for id, entry in room.index.value.open.items() if id in room.calls}
            await self.set_index(room, replace(room.index.value, open=there))  # the others were erased, or never began
            self._rooms[tenant] = room
        return self._rooms[tenant]

    async def load(self, tenant: str) -> Room:
        """As KV has it. Raises `Unavailable`."""
        index = await self._indexes.get(f"{tenant}.calls") or Entry(CallIndex(), 0)
        desk = await self._desks.get(f"{tenant}.desk") or Entry(Desk(), 0)
        room = Room(tenant, self._settings.tenants[tenant], index, desk)
        for call_id in index.value.open:
            entry = await self._calls.get(call_key(tenant, call_id))
            if entry is not None:
                room.calls[call_id] = entry
        return room

    async def save(self, room: Room, change: Change) -> None:
        """Write what was decided, then send what follows from it. Raises `Conflict` or `Unavailable`."""
        record = change.done()
        key, entry = call_key(room.tenant, record.call_id), room.calls.get(record.call_id)
        if entry is not None:
            revision = await self._calls.update(key, record, entry.revision)
        elif (old := await self._calls.get(key)) is not None:
            revision = await self._calls.update(key, record, old.revision)
        else:
            revision = await self._calls.create(key, record)
        if entry is not None or record.state != ENDED:
            room.calls[record.call_id] = Entry(record, revision)
        await self._send(room.tenant, record)
        if record.state == ENDED:
            await self.close(room, record.call_id)

    async def _send(self, tenant: str, record: CallRecord) -> None:
        for event in record.events:
            await self.post.event(event)
        for command in record.commands:
            await self.post.command(command)
        for fetch in record.fetches:
            await self.post.fetch(tenant, record.account, fetch)

    async def close(self, room: Room, call_id: str) -> None:
        """It has ended. Raises `Conflict` or `Unavailable`."""
        room.calls.pop(call_id, None)
        if call_id in room.index.value.open:
            others = {id: entry for id, entry in room.index.value.open.items() if id != call_id}
            await self.set_index(room, replace(room.index.value, open=others))

    async def set_open(self, room: Room, call_id: str, entry: Open) -> None:
        """It has not. Raises `Conflict` or `Unavailable`."""
        await self.set_index(room, replace(room.index.value, open={**room.index.value.open, call_id: entry}))

    async def set_index(self, room: Room, index: CallIndex) -> None:
        """Raises `Conflict` or `Unavailable`."""
        if index != room.index.value:
            revision = await self._indexes.update(f"{room.tenant}.calls", index, room.index.revision)
            room.index = Entry(index, revision)

    async def set_desk(self, room: Room, desk: Desk) -> None:
        """Raises `Conflict` or `Unavailable`."""
        revision = await self._desks.update(f"{room.tenant}.desk", desk, room.desk.revision)
        room.desk = Entry(desk, revision)


@contextlib.contextmanager
def alone(call_id: str) -> Iterator[None]:
    """A fault of ours over one call is said in the log, and the others go on."""
    try:
        yield
    except (Unavailable, Conflict):
        raise
    except Exception:
        log.exception("call.broken", call=call_id)
