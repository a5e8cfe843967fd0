"""The queue of calls: who asks is put into it, who is next is given to who is free; what is decided is written first.

The active dispatcher alone does it, one input at a time for each tenant. A crash at any point loses nothing and does
nothing twice: an input that comes again finds what it did, and what was to be told of that is told again under the
same ids. Dials nobody itself: gateways do, and tell each step.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection

import msgspec
from msgspec.structs import replace

from sluiceway_contracts import (
    AgentSet,
    CallCancel,
    CallPlace,
    CallQueue,
    CallQueueAnswer,
    CallRequest,
    CallStep,
    Command,
    Error,
    Wait,
    is_uuid,
)
from sluiceway_contracts.values import now as now_utc

from ..bus.store import Conflict
from ..checks import LATEST, Refusal
from ..directory import Table
from ..errors import Unavailable
from ..identity import Identity
from ..locks import Locks
from ..sections import Calls
from .admission import Admission
from .agents import set_agent
from .book import Book, alone
from .change import Change
from .endings import end, hang_up, ms
from .order import assign
from .ports import People, Post, Queues
from .records import (
    ARRIVED,
    ENDED,
    IN_HAND,
    UNPROVEN,
    WAITING,
    CallIndex,
    CallRecord,
    Desk,
    Open,
)
from .room import Room, forecast, given_up_at, noted
from .steps import Steps

TOLD_AGAIN = datetime.timedelta(minutes=2)
CALLERS = frozenset({"hung_up", "wants_call_back", "wants_person", "left_message"})
"""Steps of somebody who calls us."""


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
        self._book = Book(calls, indexes, desks, post=post, identity=identity, settings=settings, clock=clock)
        self._steps = {tenant: Steps(policy) for tenant, policy in settings.tenants.items()}
        self._admission = Admission(self._book, people, self._steps, secret)
        self._queues = queues
        self._post = post
        self._people = people
        self._identity = identity
        self._settings = settings
        self._clock = clock
        self._locks = Locks()
        self._epoch = 0

    async def take(self, command: Command, epoch: int) -> None:
        """Carry out a command, or a step that a gateway told. Raises `Refusal` or `Unavailable`."""
        if epoch != self._epoch:  # another process may have been at it
            self._epoch = epoch
            self._book.forget()
        tenant = command.tenant
        if tenant not in self._settings.tenants:
            raise Refusal("unsupported", f"calls are not set up for {tenant}: add [calls.tenants.{tenant}]")
        async with self._locks.of(tenant):
            try:
                room = await self._book.room(tenant)
                await self._carry_out(room, command)
                await self._settle(room)
            except Refusal:
                raise
            except Conflict as conflict:
                self._book.forget(tenant)
                raise Unavailable(f"another process changed {conflict}") from conflict
            except BaseException:
                self._book.forget(tenant)  # what is remembered may not be what was written
                raise

    async def forget(self, tenant: str, contacts: Collection[str], numbers: Collection[str]) -> None:
        """Hang up on whoever is erased, and have them wait no more. Raises `Unavailable`."""
        if tenant not in self._settings.tenants:
            return
        async with self._locks.of(tenant):
            room = await self._book.room(tenant)
            for record in room.records:
                if record.contact in contacts or record.address in numbers:
                    change = self._book.change(room, record)
                    hang_up(change)
                    for command in change.done().commands:
                        await self._post.command(command)
                    await self._book.close(room, record.call_id)

    async def queue(self, tenant: str, question: CallQueue) -> CallQueueAnswer:
        """`ask.call-queue`. Raises `Refusal` or `Unavailable`."""
        if tenant not in self._settings.tenants:
            raise Refusal("unsupported", f"calls are not set up for {tenant}")
        room = await self._book.load(tenant)  # another process may be the active one: what it wrote counts
        return room.answer(question.skill or "", question.call_id, self._clock())

    async def _carry_out(self, room: Room, command: Command) -> None:
        match command.data:
            case AgentSet() as agent:
                await set_agent(self._book, room, command, agent)
            case CallRequest() as request:
                await self._admission.request(room, command, request)
            case CallCancel(call_id=call_id, reason=reason):
                change = await self._known(room, call_id, command)
                if change is not None:
                    before = change.record
                    self._steps[room.tenant].cancel(change, reason)
                    await self._go_on(room, before, change)
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
            ended = await self._book.find(room.tenant, call_id) if is_uuid(call_id) else None
            if ended is not None and command.id in ended.value.seen:
                return None
            raise Refusal("unknown_call", "there is no such call, or it has ended")
        if command.id in entry.value.seen:
            return None
        return self._book.change(room, entry.value, command.id)

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
        await self._book.save(room, change)

    async def _step(self, room: Room, command: Command, step: CallStep) -> None:
        if step.step == "arrived" and step.call_id not in room.calls:
            await self._admission.arrived(room, command, step)
            return
        entry = room.calls.get(step.call_id)
        if entry is None and is_uuid(step.call_id):
            entry = await self._book.find(room.tenant, step.call_id)  # a step of a call that has ended
            if entry is None and step.step in CALLERS:  # it overtook the arrival
                await self._admission.arrived(room, msgspec.structs.replace(command, id=f"{command.id}:arrived"), step)
                entry = room.calls.get(step.call_id)
        if entry is None or command.id in entry.value.seen:
            return
        before = entry.value
        change = self._book.change(room, before, command.id)
        self._steps[room.tenant].take(change, step)
        if before.state == ARRIVED and change.record.state == WAITING:
            await self._admission.called_back(room, change)
        elif before.state == UNPROVEN and change.record.state == WAITING:
            await self._book.set_open(room, before.call_id, Open(before.conversation))
        if change.record.agent is None and change.record.agent_address is not None:
            agent = room.agent_at(change.record.agent_address)
            if agent is not None:
                change.set(agent=agent.agent_id, agent_name=agent.name)
        await self._go_on(room, before, change)

    async def _go_on(self, room: Room, before: CallRecord, change: Change) -> None:
        """Write what a call has become, and what that means for its agent and for whoever waits."""
        if change.record.tries != before.tries and before.offered_at is not None:
            change.set(held_ms=before.held_ms + ms(change.now - before.offered_at))
        await self._book.save(room, change)
        self._rest(room, before, change.record)
        await self._note_holding(room, before, change.record)

    async def _settle(self, room: Room) -> None:
        """What is due is done, calls are given to agents, and who waits is told. One call's fault is no other's."""
        now, steps = self._clock(), self._steps[room.tenant]
        for record in room.records:
            overdue = record.deadline is not None and record.deadline <= now
            if overdue or (record.state == WAITING and now >= given_up_at(record)):
                with alone(record.call_id):
                    await self._expire(room, record, overdue=overdue)
        account = await self._people.account(room.tenant) if room.hours.is_open(now) else None
        if account is not None:
            for call_id, agent_id in assign(room.waiting(now), room.available(now), now):
                with alone(call_id):
                    change = self._book.change(room, room.calls[call_id].value)
                    steps.offer(change, room.desk.value.agents[agent_id], account)
                    await self._book.save(room, change)
        if room.hours.is_open(now):
            await self._tell_places(room, now)
        queue = room.queue(now)
        if queue != room.shown:
            await self._queues.put(f"{room.tenant}.queue", queue)
            room.shown = queue
        await self._arm(room, now)

    async def _expire(self, room: Room, record: CallRecord, *, overdue: bool) -> None:
        change = self._book.change(room, record)
        if overdue:
            self._steps[room.tenant].take(change, CallStep(call_id=record.call_id, step="due"))
        else:
            end(change, "given_up", "no_answer", error=Error(code="overdue", message="nobody took it for a week"))
        if change.record is record:
            return
        if record.state == ARRIVED and change.record.state == WAITING:
            await self._admission.called_back(room, change)
        await self._go_on(room, record, change)

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
            with alone(record.call_id):
                await self._tell_place(room, record, at, forecast(queue, record.skill, at))

    async def _tell_place(self, room: Room, record: CallRecord, at: int, wait: Wait | None) -> None:
        change = self._book.change(room, record)
        texts, first = self._steps[room.tenant].texts, record.position is None and not record.attempt
        change.queued(at, wait)
        if room.policy.updates and first:
            change.write(texts.say("queued", position=at, wait=texts.wait(wait)))
        elif room.policy.updates and at == 1 and not record.told_next:
            change.write(texts.say("next"))
        if at == 1:
            change.set(told_next=True)
        await self._book.save(room, change)

    def _rest(self, room: Room, before: CallRecord, after: CallRecord) -> None:
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
        await self._book.set_desk(room, replace(room.desk.value, holding=known))
