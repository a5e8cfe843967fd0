"""The queue of calls: who asks is put into it, who is next is given to who is free; what is decided is written first.

The active dispatcher alone does it, one input at a time for each tenant. A crash at any point loses nothing and does
nothing twice: an input that comes again finds what it did, and what was to be told of that is told again under the
same ids. Dials nobody itself: gateways do, and tell each step.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import msgspec
import structlog
from msgspec.structs import replace

from sluiceway_contracts import (
    AgentChanged,
    AgentSet,
    CallCancel,
    CallPlace,
    CallQueue,
    CallQueueAnswer,
    CallRequest,
    CallRequested,
    CallStep,
    Command,
    Error,
    Event,
    Wait,
    addresses,
    is_uuid,
    subjects,
)
from sluiceway_contracts.values import now as now_utc

from ..bus.store import Conflict, Entry
from ..checks import LATEST, Refusal
from ..directory import Table
from ..errors import Unavailable
from ..identity import Identity
from ..locks import Locks
from ..sections import Calls
from .change import Change
from .endings import end, hang_up, ms
from .order import assign
from .proof import code
from .records import (
    ARRIVED,
    ENDED,
    IN_HAND,
    UNPROVEN,
    WAITING,
    Agent,
    Asked,
    CallIndex,
    CallRecord,
    Desk,
    Open,
    Queue,
    call_key,
)
from .room import LONGEST_WAIT, Number, Room, forecast, noted
from .steps import LONGEST, PROOF, Steps

log = structlog.get_logger(__name__)

DAY, HOUR = datetime.timedelta(days=1), datetime.timedelta(hours=1)
STALE = datetime.timedelta(hours=12)
"""What was to be told so long ago was told: NATS would not know it again."""
TOLD_AGAIN = datetime.timedelta(minutes=2)
CALLERS = frozenset({"hung_up", "wants_call_back", "wants_person", "left_message"})
"""Steps of somebody who calls us."""
STATES = frozenset({"available", "busy", "away", "offline"})


class Post(Protocol):
    """Where what is decided goes. Each raises `Unavailable`, and done twice is done once."""

    async def event(self, event: msgspec.Raw) -> None: ...

    async def command(self, command: msgspec.Raw) -> None: ...

    async def fetch(self, tenant: str, account: str, fetch: msgspec.Raw) -> None: ...

    async def wake(self, tenant: str, at: datetime.datetime) -> None: ...


class People(Protocol):
    """What is known of customers and accounts. Each raises `Unavailable`."""

    async def number(self, tenant: str, conversation: str | None, address: str | None) -> Number | None:
        """Whom to call: the address, else the one that the conversation's contact has."""

    async def caller(self, tenant: str, account: str, address: str, assurance: str) -> Number:
        """Who calls us, in a conversation."""

    async def account(self, tenant: str) -> str | None:
        """The account that calls are placed from."""

    async def texts_by(self, tenant: str) -> tuple[str, str] | None:
        """Channel and name of the account that texts to telephones go out by."""

    async def is_revoked(self, tenant: str, address: str) -> bool:
        """Whether the address wants no calls."""


class Queues(Protocol):
    """What gateways are to know of queues."""

    async def put(self, key: str, value: Queue) -> object:
        """Raises `Unavailable`."""


class Switchboard:
    """The calls of all tenants that have any."""

    def __init__(
        self,
        calls: Table[CallRecord],
        indexes: Table[CallIndex],
        desks: Table[Desk],
        queues: Queues,
        *,
        post: Post,
        people: People,
        identity: Identity,
        settings: Calls,
        secret: bytes,
        clock: Callable[[], datetime.datetime] = now_utc,
    ) -> None:
        self._calls = calls
        self._indexes = indexes
        self._desks = desks
        self._queues = queues
        self._post = post
        self._people = people
        self._identity = identity
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._steps = {tenant: Steps(policy) for tenant, policy in settings.tenants.items()}
        self._rooms: dict[str, Room] = {}
        self._locks = Locks()
        self._epoch = 0

    async def take(self, command: Command, epoch: int) -> None:
        """Carry out a command, or a step that a gateway told. Raises `Refusal` or `Unavailable`."""
        if epoch != self._epoch:  # another process may have been at it
            self._epoch = epoch
            self._rooms.clear()
        tenant = command.tenant
        if tenant not in self._settings.tenants:
            raise Refusal("unsupported", f"calls are not set up for {tenant}: add [calls.tenants.{tenant}]")
        async with self._locks.of(tenant):
            try:
                room = await self._room(tenant)
                await self._carry_out(room, command)
                await self._settle(room)
            except Refusal:
                raise
            except Conflict as conflict:
                self._rooms.pop(tenant, None)
                raise Unavailable(f"another process changed {conflict}") from conflict
            except BaseException:
                self._rooms.pop(tenant, None)  # what is remembered may not be what was written
                raise

    async def forget(self, tenant: str, contacts: Collection[str], numbers: Collection[str]) -> None:
        """Hang up on whoever is erased, and have them wait no more. Raises `Unavailable`."""
        if tenant not in self._settings.tenants:
            return
        async with self._locks.of(tenant):
            room = await self._room(tenant)
            for record in room.records:
                if record.contact in contacts or record.address in numbers:
                    change = Change(tenant, record, self._clock(), self._identity, "")
                    hang_up(change)
                    for command in change.done().commands:
                        await self._post.command(command)
                    await self._close(room, record.call_id)

    async def queue(self, tenant: str, question: CallQueue) -> CallQueueAnswer:
        """`ask.call-queue`. Raises `Refusal` or `Unavailable`."""
        if tenant not in self._settings.tenants:
            raise Refusal("unsupported", f"calls are not set up for {tenant}")
        room = await self._load(tenant)  # another process may be the active one: what it wrote counts
        return room.answer(question.skill or "", question.call_id, self._clock())

    async def _room(self, tenant: str) -> Room:
        if tenant not in self._rooms:
            room = await self._load(tenant)
            for entry in tuple(room.calls.values()):
                if entry.value.saved_at is not None and self._clock() - entry.value.saved_at < STALE:
                    with _alone(entry.value.call_id):
                        await self._send(tenant, entry.value)
                if entry.value.state == ENDED:
                    await self._close(room, entry.value.call_id)
            there = {id: entry for id, entry in room.index.value.open.items() if id in room.calls}
            await self._set_index(room, replace(room.index.value, open=there))  # the others were erased, or never began
            self._rooms[tenant] = room
        return self._rooms[tenant]

    async def _load(self, tenant: str) -> Room:
        index = await self._indexes.get(f"{tenant}.calls") or Entry(CallIndex(), 0)
        desk = await self._desks.get(f"{tenant}.desk") or Entry(Desk(), 0)
        room = Room(tenant, self._settings.tenants[tenant], index, desk)
        for call_id in index.value.open:
            entry = await self._calls.get(call_key(tenant, call_id))
            if entry is not None:
                room.calls[call_id] = entry
        return room

    async def _carry_out(self, room: Room, command: Command) -> None:
        match command.data:
            case AgentSet() as agent:
                await self._set_agent(room, command, agent)
            case CallRequest() as request:
                await self._request(room, command, request)
            case CallCancel(call_id=call_id, reason=reason):
                change = await self._known(room, call_id, command)
                if change is not None:
                    before = change.record
                    self._steps[room.tenant].cancel(change, reason)
                    await self._save(room, change)
                    await self._rest(room, before, change.record)
            case CallPlace(call_id=call_id, agent_id=agent_id):
                await self._claim(room, command, call_id, agent_id or command.actorid or "")
            case CallStep() as step:
                await self._step(room, command, step)
            case _:
                raise Refusal("unsupported", f"{command.type} is nothing that the queue of calls knows")

    async def _known(self, room: Room, call_id: str, command: Command) -> Change | None:
        """A change of a call that has not ended; None where this command made it already. Raises `Refusal`."""
        entry = room.calls.get(call_id)
        if entry is None:
            ended = await self._calls.get(call_key(room.tenant, call_id)) if is_uuid(call_id) else None
            if ended is not None and command.id in ended.value.seen:
                return None
            raise Refusal("unknown_call", "there is no such call, or it has ended")
        if command.id in entry.value.seen:
            return None
        return Change(room.tenant, entry.value, self._clock(), self._identity, command.id)

    async def _set_agent(self, room: Room, command: Command, wanted: AgentSet) -> None:
        try:
            subjects.name(wanted.agent_id)
            reach = tuple(addresses.normalise(address) for address in wanted.reach)
        except (subjects.InvalidSubject, addresses.InvalidAddress) as error:
            raise Refusal("invalid", str(error)) from error
        if wanted.state not in STATES or not 1 <= wanted.capacity <= 100:
            raise Refusal("invalid", f"state is one of {', '.join(sorted(STATES))}, capacity from 1 to 100")
        before = room.desk.value.agents.get(wanted.agent_id)
        if before is not None and before.set_at is not None and command.time < before.set_at:
            return  # it comes again, or too late
        agent = Agent(
            agent_id=wanted.agent_id,
            state=wanted.state,
            name=wanted.name,
            skills=wanted.skills,
            reach=reach or (before.reach if before is not None else ()),
            capacity=wanted.capacity,
            set_at=command.time,
        )
        if agent != before:
            await self._set_desk(
                room, replace(room.desk.value, agents={**room.desk.value.agents, agent.agent_id: agent})
            )
        room.resting.pop(agent.agent_id, None)
        event = Event(
            id=self._identity.id(room.tenant, AgentChanged.type, command.id),
            tenant=room.tenant,
            causationid=command.id,
            actorid=command.actorid,
            actorrole=command.actorrole,
            data=AgentChanged(
                agent_id=agent.agent_id,
                state=agent.state,
                name=agent.name,
                skills=agent.skills,
                capacity=agent.capacity,
            ),
        )
        await self._post.event(msgspec.Raw(event.encode()))

    async def _request(self, room: Room, command: Command, wanted: CallRequest) -> None:
        if not is_uuid(wanted.call_id):
            raise Refusal("invalid", "call_id must be a UUID in lower case, a UUIDv7 best")
        if await self._calls.get(call_key(room.tenant, wanted.call_id)) is not None:
            return  # it was asked for before
        number = await self._number(room, command, wanted)
        account = await self._people.account(room.tenant)
        if account is None:
            raise Refusal("no_channel", "no account here places calls")
        proven = number.is_proven or wanted.is_proven
        policy, now = room.policy, self._clock()
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
        change = Change(room.tenant, record, now, self._identity, command.id)
        self._tell_requested(room, change, texts_by)
        await self._save(room, change)

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
        index, now = room.index.value, self._clock()
        if any(one.address == number.address and one.call_id != call_id for one in room.records):
            raise Refusal("already_waiting", "whoever has the number waits for a call, or is in one")
        asked = tuple(one for one in index.asked if now - one.at < DAY)
        if all(one.call_id != call_id for one in asked):
            key = self._identity.address_key(number.address)
            if sum(one.number == key for one in asked) >= room.policy.per_number_day:
                raise Refusal("too_many", f"the number was asked for {room.policy.per_number_day} times within a day")
            if sum(now - one.at < HOUR for one in asked) >= room.policy.per_hour:
                raise Refusal("too_many", "as many calls were asked for within an hour as calls.tenants allows")
            asked = (*asked, Asked(now, key, call_id))
        opened = Open(number.conversation, None if proven else number.address)
        await self._set_index(room, CallIndex({**index.open, call_id: opened}, asked))

    async def _claim(self, room: Room, command: Command, call_id: str, agent_id: str) -> None:
        change = await self._known(room, call_id, command)
        if change is None:
            return
        agent = room.desk.value.agents.get(agent_id)
        if agent is None or not agent.reach:
            raise Refusal("unknown_agent", "no such agent has said, by agent.set, where calls reach them")
        if change.record.state != WAITING:
            raise Refusal("not_waiting", f"the call is {change.record.state}")
        if room.busy(agent) >= agent.capacity:
            raise Refusal("agent_busy", "the agent has as many calls as they can take")
        self._steps[room.tenant].offer(change, agent, await self._people.account(room.tenant) or change.record.account)
        await self._save(room, change)

    async def _step(self, room: Room, command: Command, step: CallStep) -> None:
        if step.step == "arrived" and step.call_id not in room.calls:
            await self._arrived(room, command, step)
            return
        entry = room.calls.get(step.call_id)
        if entry is None and is_uuid(step.call_id):
            entry = await self._calls.get(call_key(room.tenant, step.call_id))  # a step of a call that has ended
            if entry is None and step.step in CALLERS:  # it overtook the arrival
                await self._arrived(room, msgspec.structs.replace(command, id=f"{command.id}:arrived"), step)
                entry = room.calls.get(step.call_id)
        if entry is None or command.id in entry.value.seen:
            return
        before = entry.value
        change = Change(room.tenant, before, self._clock(), self._identity, command.id)
        self._steps[room.tenant].take(change, step)
        if before.state == ARRIVED and change.record.state == WAITING:
            await self._called_back(room, change)
        elif before.state == UNPROVEN and change.record.state == WAITING:
            await self._set_open(room, before.call_id, Open(before.conversation))
        if change.record.agent is None and change.record.agent_address is not None:
            agent = room.agent_at(change.record.agent_address)
            if agent is not None:
                change.set(agent=agent.agent_id, agent_name=agent.name)
        if change.record.tries != before.tries and before.offered_at is not None:
            change.set(held_ms=before.held_ms + ms(change.now - before.offered_at))
        await self._save(room, change)
        await self._rest(room, before, change.record)
        await self._note_holding(room, before, change.record)

    async def _arrived(self, room: Room, command: Command, step: CallStep) -> None:
        """Somebody calls us."""
        known = await self._calls.get(call_key(room.tenant, step.call_id)) if is_uuid(step.call_id) else None
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
            deadline=self._clock() + LONGEST,
        )
        await self._set_open(room, step.call_id, Open(record.conversation))
        change = Change(room.tenant, record, self._clock(), self._identity, command.id)
        change.tell(
            CallRequested(call_id=record.call_id, state="requested", address=record.address, direction="inbound")
        )
        await self._save(room, change)

    async def _called_back(self, room: Room, change: Change) -> None:
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

    async def _settle(self, room: Room) -> None:
        """What is due is done, calls are given to agents, and who waits is told. One call's fault is no other's."""
        now, steps = self._clock(), self._steps[room.tenant]
        for record in room.records:
            overdue = record.deadline is not None and record.deadline <= now
            if overdue or (record.state == WAITING and now - record.since > LONGEST_WAIT):
                with _alone(record.call_id):
                    await self._expire(room, record, overdue=overdue)
        account = await self._people.account(room.tenant) if room.hours.is_open(now) else None
        if account is not None:
            for call_id, agent_id in assign(room.waiting(now), room.available(now), now):
                with _alone(call_id):
                    change = Change(room.tenant, room.calls[call_id].value, now, self._identity, "")
                    steps.offer(change, room.desk.value.agents[agent_id], account)
                    await self._save(room, change)
        if room.hours.is_open(now):
            await self._tell_places(room, now)
        queue = room.queue(now)
        if queue != room.shown:
            await self._queues.put(f"{room.tenant}.queue", queue)
            room.shown = queue
        await self._arm(room, now)

    async def _expire(self, room: Room, record: CallRecord, *, overdue: bool) -> None:
        change = Change(room.tenant, record, self._clock(), self._identity, "")
        if overdue:
            self._steps[room.tenant].take(change, CallStep(call_id=record.call_id, step="due"))
        else:
            end(change, "given_up", "no_answer", error=Error(code="overdue", message="nobody took it for days"))
        if change.record is record:
            return
        if record.state == ARRIVED and change.record.state == WAITING:
            await self._called_back(room, change)
        await self._save(room, change)
        await self._rest(room, record, change.record)

    async def _arm(self, room: Room, now: datetime.datetime) -> None:
        """Have the queue looked at again when the next moment comes; a clock that is ahead of ours is asked again."""
        at = room.next_moment(now)
        if at is None or (room.armed is not None and now < room.armed <= at):
            return
        room.armed = min(at, now + LATEST)
        await self._post.wake(room.tenant, room.armed)

    async def _tell_places(self, room: Room, now: datetime.datetime) -> None:
        """Each place once, then when somebody is next, or much has changed."""
        queue = room.queue(now)
        for record, at in tuple(room.places(now)):
            if at == record.position:
                continue
            recent = record.told_at is not None and now - record.told_at < TOLD_AGAIN
            if record.position is not None and recent:
                continue
            with _alone(record.call_id):
                await self._tell_place(room, record, at, forecast(queue, record.skill, at))

    async def _tell_place(self, room: Room, record: CallRecord, at: int, wait: Wait | None) -> None:
        change = Change(room.tenant, record, self._clock(), self._identity, "")
        texts, first = self._steps[room.tenant].texts, record.position is None and not record.attempt
        change.queued(at, wait)
        if room.policy.updates and first:
            change.write(texts.say("queued", position=at, wait=texts.wait(wait)))
        elif room.policy.updates and at == 1 and not record.told_next:
            change.write(texts.say("next"))
        if at == 1:
            change.set(told_next=True)
        await self._save(room, change)

    async def _rest(self, room: Room, before: CallRecord, after: CallRecord) -> None:
        """Who did not take a call is left alone for a while; who had one is free."""
        if before.agent is None or before.state not in IN_HAND or after.state in IN_HAND:
            return
        now = self._clock()
        room.freed[before.agent] = now
        if before.state == "offered" and after.state == WAITING and after.tries == before.tries and after.due is None:
            until = now + datetime.timedelta(seconds=room.policy.agent_pause_s)
            room.resting[before.agent] = until

    async def _note_holding(self, room: Room, before: CallRecord, after: CallRecord) -> None:
        """How long a try kept an agent, from the offer on, and all tries of a call, for whoever waits next."""
        if before.state not in IN_HAND or (after.state != ENDED and after.tries == before.tries):
            return
        known = room.desk.value.holding
        took = ms(self._clock() - (before.offered_at or before.connected_at or self._clock()))
        for skill in {before.skill, ""}:
            known = noted(known, skill, took, before.held_ms + took if after.state == ENDED else None)
        await self._set_desk(room, replace(room.desk.value, holding=known))

    async def _save(self, room: Room, change: Change) -> None:
        """Write what was decided, then send what follows from it."""
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
            await self._close(room, record.call_id)

    async def _send(self, tenant: str, record: CallRecord) -> None:
        for event in record.events:
            await self._post.event(event)
        for command in record.commands:
            await self._post.command(command)
        for fetch in record.fetches:
            await self._post.fetch(tenant, record.account, fetch)

    async def _close(self, room: Room, call_id: str) -> None:
        room.calls.pop(call_id, None)
        if call_id in room.index.value.open:
            others = {id: entry for id, entry in room.index.value.open.items() if id != call_id}
            await self._set_index(room, replace(room.index.value, open=others))

    async def _set_open(self, room: Room, call_id: str, entry: Open) -> None:
        await self._set_index(room, replace(room.index.value, open={**room.index.value.open, call_id: entry}))

    async def _set_index(self, room: Room, index: CallIndex) -> None:
        if index != room.index.value:
            revision = await self._indexes.update(f"{room.tenant}.calls", index, room.index.revision)
            room.index = Entry(index, revision)

    async def _set_desk(self, room: Room, desk: Desk) -> None:
        revision = await self._desks.update(f"{room.tenant}.desk", desk, room.desk.revision)
        room.desk = Entry(desk, revision)


@contextlib.contextmanager
def _alone(call_id: str) -> Iterator[None]:
    """A fault of ours over one call is said in the log, and the others go on."""
    try:
        yield
    except (Unavailable, Conflict):
        raise
    except Exception:
        log.exception("call.broken", call=call_id)
