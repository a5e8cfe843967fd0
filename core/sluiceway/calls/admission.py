"""Who comes into the queue: whoever asks for a call, calls us, or is called back; each once, and as the caps allow.

Who is next is not its matter.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from sluiceway_contracts import CallRequest, CallRequested, CallStep, Command, Error, addresses, is_uuid

from ..checks import LATEST, Refusal
from .book import Book
from .change import Change
from .endings import end
from .ports import People
from .proof import code
from .records import ARRIVED, UNPROVEN, WAITING, Asked, CallIndex, CallRecord, Open
from .room import Number, Room
from .steps import LONGEST, PROOF, Steps

DAY, HOUR = datetime.timedelta(days=1), datetime.timedelta(hours=1)


class Admission:
    """For all tenants."""

    def __init__(self, book: Book, people: People, steps: Mapping[str, Steps], secret: bytes) -> None:
        self._book = book
        self._people = people
        self._steps = steps
        self._secret = secret

    async def request(self, room: Room, command: Command, wanted: CallRequest) -> None:
        """Somebody is to be called. Raises `Refusal`, `Conflict` or `Unavailable`."""
        if not is_uuid(wanted.call_id):
            raise Refusal("invalid", "call_id must be a UUID in lower case, a UUIDv7 best")
        if await self._book.find(room.tenant, wanted.call_id) is not None:
            return  # it was asked for before
        number = await self._number(room, command, wanted)
        account = await self._people.account(room.tenant)
        if account is None:
            raise Refusal("no_channel", "no account here places calls")
        proven = number.is_proven or wanted.is_proven
        policy, now = room.policy, self._book.now()
        if wanted.not_before is not None and wanted.not_before > now + LATEST:
            raise Refusal("too_early", f"not_before is more than {LATEST.days} days ahead; ask later")
        texts_by = await self._people.texts_by(room.tenant) if not proven else None
        if not proven and texts_by is None:
            raise Refusal("unproven", "the number has not written or called, and no account here can text it a code")
        await self._admit(room, wanted.call_id, number, proven)
        record = CallRecord(
            call_id=wanted.call_id,
            state=WAITING if proven else UNPROVEN,
            since=command.time,
            account=account,
            address=number.address,
            contact=number.contact,
            conversation=number.conversation,
            writable=number.conversation is not None,
            skill=wanted.skill or "",
            priority=wanted.priority,
            reason=wanted.reason,
            name=number.name,
            first=policy.first,
            record=policy.record,
            due=wanted.not_before if wanted.not_before is not None and wanted.not_before > now else None,
            deadline=None if proven else now + PROOF,
        )
        change = self._book.change(room, record, command.id)
        self._tell_requested(room, change, texts_by)
        await self._book.save(room, change)

    def _tell_requested(self, room: Room, change: Change, texts_by: tuple[str, str] | None) -> None:
        record, now, texts = change.record, change.now, self._steps[room.tenant].texts
        later = record.due or now
        later = later if room.hours.is_open(later) else room.hours.opens_at(later) or later
        state = UNPROVEN if record.state == UNPROVEN else "scheduled" if later > now else "requested"
        change.tell(
            CallRequested(
                call_id=record.call_id,
                state=state,
                address=record.address,
                not_before=later if later > now else None,
                skill=record.skill or None,
                reason=record.reason,
                direction=record.direction,
            )
        )
        if record.state == UNPROVEN:
            proof = texts.say("proof", code=code(self._secret, record.call_id))
            change.write(proof, to=record.address, by=texts_by)
        elif later > now and room.policy.updates:
            change.set(told_at=now)
            change.write(texts.say("scheduled", time=self._steps[room.tenant].clock(later, now)))

    async def _number(self, room: Room, command: Command, wanted: CallRequest) -> Number:
        try:
            address = addresses.normalise(wanted.address) if wanted.address is not None else None
        except addresses.InvalidAddress as error:
            raise Refusal("invalid_address", str(error)) from error
        if address is not None and not address.startswith("tel:"):
            raise Refusal("invalid_address", "calls go to tel: addresses")
        number = await self._people.number(room.tenant, command.subject, address)
        if number is None:
            raise Refusal("no_address", "no telephone number is known: give address")
        if not number.address.startswith(self._steps[room.tenant].allowed):
            raise Refusal("destination_not_allowed", "the number begins with none of calls.tenants' prefixes")
        if await self._people.is_revoked(room.tenant, number.address):
            raise Refusal("opted_out", "whoever has the number wants no calls")
        return number

    async def _admit(self, room: Room, call_id: str, number: Number, proven: bool) -> None:
        """Into the index, counted once, if the caps allow it. Raises `Refusal`."""
        index, now = room.index.value, self._book.now()
        if any(one.address == number.address and one.call_id != call_id for one in room.records):
            raise Refusal("already_waiting", "whoever has the number waits for a call, or is in one")
        asked = tuple(one for one in index.asked if now - one.at < DAY)
        if all(one.call_id != call_id for one in asked):
            key = self._book.identity.address_key(number.address)
            if sum(one.number == key for one in asked) >= room.policy.per_number_day:
                raise Refusal("too_many", f"the number was asked for {room.policy.per_number_day} times within a day")
            if sum(now - one.at < HOUR for one in asked) >= room.policy.per_hour:
                raise Refusal("too_many", "as many calls were asked for within an hour as calls.tenants allows")
            asked = (*asked, Asked(now, key, call_id))
        opened = Open(number.conversation, None if proven else number.address)
        await self._book.set_index(room, CallIndex({**index.open, call_id: opened}, asked))

    async def arrived(self, room: Room, command: Command, step: CallStep) -> None:
        """Somebody calls us. Raises `Conflict` or `Unavailable`."""
        known = await self._book.find(room.tenant, step.call_id) if is_uuid(step.call_id) else None
        if known is not None or not is_uuid(step.call_id):
            return
        who = None
        if step.address is not None:
            who = await self._people.caller(room.tenant, step.account or "", step.address, step.assurance)
        record = CallRecord(
            call_id=step.call_id,
            state=ARRIVED,
            since=step.occurred_at or command.time,
            account=step.account or "",
            direction="inbound",
            address=step.address,
            contact=who.contact if who is not None else None,
            conversation=who.conversation if who is not None else None,
            name=step.name,
            skill=step.skill or "",
            legs=(step.external_id,) if step.external_id is not None else (),
            first="agent",
            record=room.policy.record,
            deadline=self._book.now() + LONGEST,
        )
        await self._book.set_open(room, step.call_id, Open(record.conversation))
        change = self._book.change(room, record, command.id)
        change.tell(
            CallRequested(
                call_id=record.call_id,
                state="requested",
                address=record.address,
                skill=record.skill or None,
                direction="inbound",
            )
        )
        await self._book.save(room, change)

    async def called_back(self, room: Room, change: Change) -> None:
        """Somebody who called is called back: their number proved itself, and the caps hold for them too."""
        record = change.record
        number = Number(record.address or "", True, record.contact, record.conversation)
        try:
            if await self._people.is_revoked(room.tenant, number.address):
                raise Refusal("opted_out", "whoever has the number wants no calls")
            await self._admit(room, record.call_id, number, True)
        except Refusal as refusal:
            error = Error(code=refusal.code, message=str(refusal))
            end(change, "given_up", "no_answer", error=error)
