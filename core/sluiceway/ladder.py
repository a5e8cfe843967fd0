"""Messages that fall back: attempt after attempt, each on another channel, until one arrives. Asks no provider.

What was chosen is written down before it is done, so that whoever does it again does the same. An attempt is given up
in the ledger before the next one begins: of a late delivery and the giving up one comes first, and the other is void.
"""

from __future__ import annotations

import structlog
from msgspec import Struct
from msgspec.structs import replace

from sluiceway_contracts import TERMINAL, Piece
from sluiceway_contracts.values import Time, now

from .bus.store import Bucket, Conflict, Entry
from .checks import Refusal
from .continuity import Talk
from .errand import Errand
from .forwarding import Forwarding
from .identity import Identity
from .ledger import ARRIVED, Ledger, MessageRecord
from .reports import status_event
from .routing import Way, explain, first, following, ways
from .schedule import Schedule
from .stream import EventStream
from .survey import Survey

log = structlog.get_logger(__name__)

EVERYWHERE = frozenset({"answered_past", "duplicate_message_id"})
"""Codes of what would be refused on every channel alike."""


class Rung(Struct, frozen=True):
    """One attempt: the way that it takes, and when it is given up."""

    channel: str
    account: str
    address: str
    due: Time


class RouteRecord(Struct, frozen=True, kw_only=True):
    """`<tenant>.r.<message>`: the attempts so far, the channels to fall back to, the command's number in its stream."""

    command_id: str
    sequence: int
    fallback: tuple[str, ...]
    rungs: tuple[Rung, ...]

    @property
    def tried(self) -> frozenset[str]:
        return frozenset(rung.channel for rung in self.rungs)

    @property
    def may_fall(self) -> bool:
        """Whether there is a channel that was not tried."""
        return not self.tried.issuperset(self.fallback)


class Ladder:
    """Carries out `message.send` with `fallback_channels`."""

    def __init__(
        self,
        routes: Bucket[RouteRecord],
        ledger: Ledger,
        survey: Survey,
        forwarding: Forwarding,
        schedule: Schedule,
        stream: EventStream,
        identity: Identity,
    ) -> None:
        self._routes = routes
        self._ledger = ledger
        self._survey = survey
        self._forwarding = forwarding
        self._schedule = schedule
        self._stream = stream
        self._identity = identity

    async def climb(self, errand: Errand, talk: Talk) -> None:
        """Begin, or go on: a command comes again when an attempt has failed, and when its time is up.

        Raises `Refusal` or `Unavailable`.
        """
        while await self._step(errand, talk):
            pass

    async def _step(self, errand: Errand, talk: Talk) -> bool:
        """Whether there is more to do at once."""
        entry = await self._routes.get(_key(errand))
        if entry is None:
            return await self._begin(errand, talk)
        record = entry.value
        if record.command_id != errand.command.id:
            raise Refusal("duplicate_message_id", f"the command {record.command_id} has this message_id already")
        number, due = len(record.rungs), record.rungs[-1].due
        if number > 1 and not await self._give_up(errand, talk, record, number - 1):
            return False  # it arrived at the last moment, and nothing more is sent
        found = await self._ledger.get(errand.tenant, errand.send.message_id, number)
        if found is not None and _is_settled(found.value, errand):
            return False
        if found is None:
            await self._forward(errand, talk, record)
        is_over = now() >= due or (found is not None and found.value.overall in TERMINAL)
        if is_over and now() < errand.expires_at:
            return await self._fall_back(errand, talk, entry)
        await self._wait(errand, record)
        return False

    async def _begin(self, errand: Errand, talk: Talk) -> bool:
        every = ways(await self._survey.of(errand.tenant, talk), errand.is_template)
        fallback = errand.send.fallback_channels
        way = first(every, errand.wish, fallback)
        if way is None:
            raise Refusal("no_channel", explain(every, errand.wish))
        record = RouteRecord(
            command_id=errand.command.id,
            sequence=errand.delivery.sequence,
            fallback=fallback,
            rungs=(_rung(way, errand),),
        )
        try:
            await self._routes.create(_key(errand), record)
        except Conflict:
            return True
        await self._forward(errand, talk, record)
        await self._wait(errand, record)
        return False

    async def _fall_back(self, errand: Errand, talk: Talk, entry: Entry[RouteRecord]) -> bool:
        """Choose the next way, and write that down; where none is open, the last attempt goes on."""
        record = entry.value
        if not record.may_fall:
            return False
        every = ways(await self._survey.of(errand.tenant, talk), errand.is_template)
        way = following(every, record.fallback, record.tried)
        if way is None:
            log.info("message.falls_nowhere", message=errand.send.message_id, attempt=len(record.rungs))
            return False
        higher = replace(record, rungs=(*record.rungs, _rung(way, errand)), sequence=errand.delivery.sequence)
        try:
            await self._routes.update(_key(errand), higher, entry.revision)
        except Conflict:
            return True
        log.info("message.falls_back", message=errand.send.message_id, attempt=len(higher.rungs), to=way.channel)
        return True

    async def _forward(self, errand: Errand, talk: Talk, record: RouteRecord) -> None:
        rung, number = record.rungs[-1], len(record.rungs)
        way = Way(rung.channel, rung.account, rung.address)
        await self._forwarding.put(errand.aimed(way, talk.contact, number), number)

    async def _wait(self, errand: Errand, record: RouteRecord) -> None:
        """Have the command come again when the last attempt's time is up, if that could change anything."""
        due = record.rungs[-1].due
        if record.may_fall and now() < due < errand.expires_at:
            await self._schedule.put(errand.delivery, errand.command, due, f"_{len(record.rungs)}")

    async def _give_up(self, errand: Errand, talk: Talk, record: RouteRecord, number: int) -> bool:
        """Whether this attempt is over without having arrived; what is superseded is told so."""
        rung = record.rungs[number - 1]
        unbegun = MessageRecord(
            state="new",
            tries=0,
            command_id=errand.command.id,
            channel=rung.channel,
            account=rung.account,
            contact=talk.contact,
            conversation=talk.conversation,
            pieces=(Piece(index=1, of=1, status="accepted", recipient=rung.address),),
            attempt=number,
        )
        over = await self._ledger.supersede(errand.tenant, errand.send.message_id, unbegun)
        piece = next((piece for piece in over.pieces if piece.status == "superseded"), None)
        if piece is not None:
            told = status_event(errand.tenant, errand.send.message_id, over, piece, None, self._identity)
            await self._stream.publish(told)
        return not _is_settled(over, errand)


def _is_settled(record: MessageRecord, errand: Errand) -> bool:
    """Whether another attempt would be one too many, or no better."""
    codes = {piece.error.code for piece in record.pieces if piece.error is not None}
    return record.overall in ARRIVED or not codes.isdisjoint(EVERYWHERE) or record.command_id != errand.command.id


def _key(errand: Errand) -> str:
    return f"{errand.tenant}.r.{errand.send.message_id}"


def _rung(way: Way, errand: Errand) -> Rung:
    return Rung(way.channel, way.account, way.address, now() + errand.fallback_after)
