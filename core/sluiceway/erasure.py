"""Everything that is known of a person is erased from the server, and told, so that readers erase too.

The order makes it safe at any point to be killed, or to be written to by the person: what is to be erased is written
down; tombstones, so that older facts are dropped; the addresses and contacts, so that who writes now is a new contact;
a pause in which every process takes note; then the streams, until nothing more is found; then `contact.erased`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable

import msgspec
import structlog
from msgspec import Struct

from sluiceway_contracts import ContactErased, Error, Event, FileRef, Party, Piece, is_uuid
from sluiceway_contracts.media import SCHEME
from sluiceway_contracts.values import Time, now

from .bus.link import Link
from .bus.shred import Denied, Shredder
from .bus.store import Bucket, Conflict
from .bus.streams import Layout
from .calls.records import CallRecord
from .checks import Refusal
from .contacts import AddressRecord, Change
from .continuity import FRESH, Continuity, Tombstone
from .errors import Unavailable
from .identity import Identity
from .ledger import MessageRecord
from .media import MediaStore
from .remains import NOBODYS, Remains, Spot
from .stream import EventStream
from .threads import thread_key
from .traces import Traces, trace

log = structlog.get_logger(__name__)

REMEMBERED_S = 30 * 86_400
"""Nothing older than the streams keep can come any more."""
SETTLE_S = FRESH.total_seconds() + 2.0
"""Until every process knows: what it took before that without asking for tombstones is on the stream then."""
PASSES = 20


Forget = Callable[[str, Collection[str], Collection[str]], Awaitable[None]]
"""Has a queue forget the calls of contacts and of addresses of a tenant. Raises `Unavailable`."""


class Done(Struct, frozen=True):
    """`<tenant>.d.<contact>`: it was erased, together with these."""

    erased_at: Time
    contacts: tuple[str, ...]


class Erasure:
    """Erases persons, each for good."""

    def __init__(
        self,
        link: Link,
        layout: Layout,
        prefix: str,
        identity: Identity,
        *,
        continuity: Continuity,
        stream: EventStream,
        files: MediaStore,
        settle_s: float = SETTLE_S,
        forget_calls: Forget | None = None,
    ) -> None:
        self._link = link
        self._layout = layout
        self._prefix = prefix
        self._identity = identity
        self._continuity = continuity
        self._stream = stream
        self._files = files
        self._settle_s = settle_s
        self._forget_calls = forget_calls
        self._shredder = Shredder(link)
        self._work = Bucket(link, layout.identity, Traces)
        self._done = Bucket(link, layout.identity, Done)
        self._tombstones = Bucket(link, layout.identity, Tombstone)
        self._addresses = Bucket(link, layout.identity, AddressRecord)
        self._messages = Bucket(link, layout.messages, MessageRecord)
        self._calls = Bucket(link, layout.messages, CallRecord)

    async def erase(self, change: Change, by: Party | None = None, reason: str | None = None) -> None:
        """Erase a contact and all that was merged with it. Done again, it finishes, and tells again what was told.

        `reason` is kept nowhere. Raises `Refusal` or `Unavailable`.
        """
        try:
            traces = await self._begin(change)
            if traces is not None:
                await self._carry_out(change, traces)
        except Denied as denied:
            raise Refusal("erasure_denied", str(denied)) from denied
        await self._tell(change, by)

    async def _carry_out(self, change: Change, traces: Traces) -> None:
        tenant, before = change.tenant, self._shredder.count
        await self._bury(tenant, traces)
        await self._forget(tenant, traces)
        await asyncio.sleep(self._settle_s)
        for _ in range(PASSES):
            if not await self._pass(tenant, traces):
                break
        await self._forget(tenant, traces)  # what a process made of them before it knew
        await self._rewrite_state()
        for contact in traces.contacts:
            done = Done(traces.erased_at, traces.contacts)
            await self._done.put(f"{tenant}.d.{contact}", done, REMEMBERED_S)
        await self._shredder.key(self._layout.identity, f"{tenant}.w.{change.contact}")
        log.info("contact.erased", contact=change.contact, messages=self._shredder.count - before)

    async def _begin(self, change: Change) -> Traces | None:
        """What is to be erased, written down; None where it is erased already. Raises `Refusal`."""
        key = f"{change.tenant}.w.{change.contact}"
        begun = await self._work.get(key)
        if begun is not None:
            return begun.value
        if await self._done.get(f"{change.tenant}.d.{change.contact}") is not None:
            return None
        traces = await trace(self._continuity.directory, change.tenant, change.contact, now())
        if traces is None:
            raise Refusal("unknown_contact", f"there is no contact {change.contact}")
        more = await self._remains(change.tenant, traces).conversations()
        others = await self._others(change.tenant, traces)
        traces = msgspec.structs.replace(
            traces,
            conversations=tuple({*traces.conversations, *more}),
            addresses=tuple(address for address in traces.addresses if address not in others),
            others=others,
        )
        try:
            await self._work.create(key, traces)
        except Conflict:
            return await self._begin(change)
        return traces

    async def _others(self, tenant: str, traces: Traces) -> tuple[str, ...]:
        """The addresses that are somebody else's, whoever typed them into a form: nothing sent there is touched."""
        owners = [(address, await self._continuity.owner(tenant, address)) for address in traces.addresses]
        return tuple(address for address, owner in owners if owner not in (None, *traces.contacts))

    async def _bury(self, tenant: str, traces: Traces) -> None:
        for token in self._tokens(traces.addresses):
            await self._tombstones.put(f"{tenant}.e.{token}", Tombstone(traces.erased_at), REMEMBERED_S)

    async def _forget(self, tenant: str, traces: Traces) -> None:
        """Let no address lead to the contacts, and nobody find them."""
        bucket = self._layout.identity
        for token in self._tokens((*traces.addresses, *traces.others)):
            for kind in ("a", "n", "u"):
                found = await self._addresses.get(f"{tenant}.{kind}.{token}")
                if found is not None and found.value.contact in traces.contacts:
                    await self._shredder.message(f"KV_{bucket}", found.revision)
        for contact in traces.contacts:
            if await self._shredder.key(bucket, f"{tenant}.c.{contact}"):
                await self._continuity.directory.announce_gone(tenant, contact, REMEMBERED_S)
            await self._shredder.keys(bucket, f"{tenant}.t.{contact}.*")
        for conversation in traces.conversations:
            await self._shredder.key(bucket, f"{tenant}.v.{conversation}")

    async def _calls_of(self, tenant: str, traces: Traces) -> None:
        """What the queue has of them; a call that has not ended is hung up, and nobody's."""
        if self._forget_calls is not None:
            await self._forget_calls(tenant, traces.contacts, traces.addresses)
        for key in await self._calls.keys(f"{tenant}.call."):
            found = await self._calls.get(key)
            if found is None:
                continue
            if found.value.contact in traces.contacts or found.value.address in traces.addresses:
                await self._shredder.key(self._layout.messages, key)

    async def _pass(self, tenant: str, traces: Traces) -> bool:
        """Erase what the streams hold; whether there was anything.

        What leads to something else goes after it, so that a crash leaves nothing that is no longer found.
        """
        before, remains = self._shredder.count, self._remains(tenant, traces)
        commands, letters, events = await remains.commands(), await remains.letters(), await remains.events()
        await self._shred(await remains.fetches())
        await self._shred_files(tenant, remains, (*commands, *events))
        for command in commands:
            await self._ledger(tenant, command)
        for event in events:
            await self._ledger(tenant, event)
            if event.letter is not None:
                await self._shredder.key(self._layout.messages, thread_key(self._identity, tenant, *event.letter))
            await self._shredder.message(event.stream, event.sequence)
        await self._shred(await remains.echoes(commands, letters))
        await self._shred(letters)
        await self._shred(commands)
        if any(command.stream == self._layout.scheduled for command in commands):
            waste = f"{self._prefix}.v1.{tenant}.scheduled.waste"
            await self._shredder.rewrite(self._layout.scheduled, waste)  # the server moved some, and erased nothing
        await self._calls_of(tenant, traces)
        await self._state(tenant, traces)
        return self._shredder.count > before

    async def _shred(self, spots: Iterable[Spot]) -> None:
        for spot in spots:
            await self._shredder.message(spot.stream, spot.sequence)

    async def _shred_files(self, tenant: str, remains: Remains, spots: Iterable[Spot]) -> None:
        """The files that the person sent or was sent, and nobody else."""
        named = {ref for spot in spots for ref in spot.refs if ref.startswith(f"{SCHEME}{tenant}/")}
        if not named or not await self._shredder.exists(f"OBJ_{self._layout.media(tenant)}"):
            return
        for ref in sorted(await remains.nobody_elses(named)):
            if await remains.nobody_elses({ref}):  # overwriting those before it took a while
                await self._files.shred(FileRef.parse(ref), self._shredder)

    async def _ledger(self, tenant: str, spot: Spot) -> None:
        """Erase what the ledger has of a message, and have it refused by a process that is about to send it."""
        if spot.message_id is None or not is_uuid(spot.message_id):  # it becomes part of a key
            return
        key = f"{tenant}.m.{spot.message_id}"
        await self._shredder.keys(self._layout.messages, f"{tenant}.r.{spot.message_id}")
        for attempt in (key, *await self._messages.keys(f"{key}.")):
            await self._attempt(tenant, attempt, spot)

    async def _attempt(self, tenant: str, key: str, spot: Spot) -> None:
        bucket, found = self._layout.messages, await self._messages.get(key)
        if found is None and spot.command_id is None:
            return
        record = found.value if found is not None else None
        if record is not None and record.state == "refused" and all(piece.recipient is None for piece in record.pieces):
            return
        for piece in record.pieces if record is not None else ():
            if record is not None and piece.external_id is not None:
                external = self._identity.external_key(record.account, piece.external_id)
                await self._shredder.key(bucket, f"{tenant}.x.{external}")
        await self._shredder.key(bucket, key)
        with contextlib.suppress(Conflict):  # the next pass sees what it is
            await self._messages.create(key, _refused(record.command_id if record else spot.command_id or ""))

    async def _state(self, tenant: str, traces: Traces) -> None:
        bucket = self._layout.state
        if not await self._shredder.exists(f"KV_{bucket}"):
            return
        for kind, ids in (("contact", traces.contacts), ("conversation", traces.conversations)):
            for id in ids:
                await self._shredder.key(bucket, f"{tenant}.{kind}.{id}")

    async def _rewrite_state(self) -> None:
        """Records for readers have addresses and change with every event: have the server drop earlier values."""
        bucket = self._layout.state
        if await self._shredder.exists(f"KV_{bucket}"):
            await self._shredder.rewrite(f"KV_{bucket}", f"$KV.{bucket}.{NOBODYS}.waste")

    async def _tell(self, change: Change, by: Party | None) -> None:
        done = await self._done.get(f"{change.tenant}.d.{change.contact}")
        if done is None:
            raise Unavailable("what was erased was written and can't be read yet; a replica is behind")
        for contact in done.value.contacts:
            data = ContactErased(contact_id=contact, method="command", by=by)
            event = Event(
                id=self._identity.id(change.tenant, data.type, contact),
                tenant=change.tenant,
                contactid=contact,
                causationid=change.cause,
                time=done.value.erased_at,
                data=data,
            )
            await self._stream.publish(event)

    def _tokens(self, addresses: Iterable[str]) -> set[str]:
        return {self._continuity.token(address) for address in addresses}

    def _remains(self, tenant: str, traces: Traces) -> Remains:
        return Remains(self._link, self._layout, self._prefix, tenant, traces)


def _refused(command_id: str) -> MessageRecord:
    """Nothing of the person: it is only there so that the message is never sent."""
    error = Error(code="erased", message="its recipient was erased")
    return MessageRecord(
        state="refused",
        command_id=command_id,
        channel="",
        account="",
        contact="",
        conversation="",
        pieces=(Piece(index=1, of=1, status="rejected", error=error),),
    )
