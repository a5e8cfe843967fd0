"""What the active dispatcher remembers of one tenant's calls and agents, and what follows from it. Does no I/O."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from sluiceway_contracts import CallQueueAnswer, Wait

from ..bus.store import Entry
from ..gateway import QueueView
from ..sections import TenantCalls
from .estimate import estimate
from .hours import Hours
from .order import Available, Waiting, ordered, position
from .records import (
    IN_HAND,
    WAITING,
    Agent,
    CallIndex,
    CallRecord,
    Desk,
    Held,
    Place,
    Queue,
)

ANY = "_"
"""Calls that anybody may take."""
LONGEST_WAIT = datetime.timedelta(days=7)
"""Nobody took it for so long: then nobody will. Lines may be closed for some of it."""
AT_WORK = frozenset({"available", "busy"})


class Room:
    """One tenant's. What is in it was written to KV."""

    def __init__(self, tenant: str, policy: TenantCalls, index: Entry[CallIndex], desk: Entry[Desk]) -> None:
        self.tenant = tenant
        self.policy = policy
        self.hours = Hours(policy)
        self.index = index
        self.desk = desk
        self.calls: dict[str, Entry[CallRecord]] = {}
        self.resting: dict[str, datetime.datetime] = {}
        self.freed: dict[str, datetime.datetime] = {}
        self.shown: Queue | None = None
        self.armed: datetime.datetime | None = None

    @property
    def records(self) -> tuple[CallRecord, ...]:
        return tuple(entry.value for entry in self.calls.values())

    def waiting(self, now: datetime.datetime) -> tuple[Waiting, ...]:
        """Those who wait for an agent."""
        return tuple(
            Waiting(call_id=r.call_id, skill=r.skill or None, priority=r.priority, since=r.since, not_before=r.due)
            for r in self.records
            if r.state == WAITING
        )

    def available(self, now: datetime.datetime) -> tuple[Available, ...]:
        """The agents who may be given calls."""
        return tuple(
            Available(
                agent_id=agent.agent_id,
                skills=agent.skills,
                capacity=agent.capacity,
                busy=self.busy(agent),
                resting_until=self.resting.get(agent.agent_id),
                free_since=self.freed.get(agent.agent_id),
            )
            for agent in self.desk.value.agents.values()
            if agent.state == "available" and agent.reach
        )

    def busy(self, agent: Agent) -> int:
        """How many calls an agent has in hand."""
        in_hand = (entry.value for entry in self.calls.values() if entry.value.state in IN_HAND)
        return sum(r.agent == agent.agent_id or r.agent_address in agent.reach for r in in_hand)

    def agent_at(self, address: str | None) -> Agent | None:
        """Who answers at an address."""
        return next((a for a in self.desk.value.agents.values() if address in a.reach), None)

    def next_moment(self, now: datetime.datetime) -> datetime.datetime | None:
        """When something is to be looked at again, though nothing is told."""
        moments = [r.deadline for r in self.records] + [r.due for r in self.records if r.state == WAITING]
        if any(r.state == WAITING for r in self.records):
            moments += [*self.resting.values(), None if self.hours.is_open(now) else self.hours.opens_at(now)]
            moments += [given_up_at(r) for r in self.records if r.state == WAITING]
        return min((moment for moment in moments if moment is not None and moment > now), default=None)

    def places(self, now: datetime.datetime) -> Iterator[tuple[CallRecord, int]]:
        """Those who wait and may be tried now, each with its position among those of its skill."""
        counts: dict[str, int] = {}
        for one in ordered(self.waiting(now), now):
            skill = one.skill or ""
            counts[skill] = counts.get(skill, 0) + 1
            yield self.calls[one.call_id].value, counts[skill]

    def wait(self, skill: str, at: int, now: datetime.datetime) -> Wait | None:
        """How long somebody at this position will wait; None where it can't be said honestly."""
        if not self.hours.is_open(now):
            return None
        return forecast(self.queue(now), skill, at)

    def queue(self, now: datetime.datetime) -> Queue:
        """What gateways are to know."""
        waiting = Counter(one.skill or "" for one in self.waiting(now) if one.is_due(now))
        agents = tuple(
            Place(agent.reach[0], agent.skills, self._is_free(agent, now))
            for agent in self.desk.value.agents.values()
            if agent.state in AT_WORK and agent.reach
        )
        return Queue(dict(waiting), agents, self.desk.value.holding)

    def answer(self, skill: str, call_id: str | None, now: datetime.datetime) -> CallQueueAnswer:
        """`ask.call-queue`."""
        queue, is_open = self.queue(now), self.hours.is_open(now)
        at: int | None
        fitting = [place for place in queue.agents if _serves(place, skill)]
        free, waiting = sum(place.free for place in fitting), queue.waiting.get(skill, 0)
        if call_id is not None and call_id in self.calls:
            at = position(self.waiting(now), call_id, now)
            wait = self.wait(skill, at, now) if at is not None else None
        else:
            at = waiting + 1
            wait = Wait(low=0, high=0) if free and not waiting and is_open else self.wait(skill, waiting + 1, now)
        return CallQueueAnswer(
            is_open=is_open,
            opens_at=None if is_open else self.hours.opens_at(now),
            waiting=waiting,
            agents=len(fitting),
            free=free,
            position=at,
            wait_ms=wait,
        )

    def _is_free(self, agent: Agent, now: datetime.datetime) -> bool:
        until = self.resting.get(agent.agent_id)
        return agent.state == "available" and self.busy(agent) < agent.capacity and (until is None or until <= now)


def view(queue: Queue, skill: str, *, is_open: bool, prefixes: tuple[str, ...] = ()) -> QueueView:
    """What somebody who calls now can be told."""
    fitting = [place for place in queue.agents if _serves(place, skill)]
    waiting = queue.waiting.get(skill, 0)
    return QueueView(
        is_open=is_open,
        waiting=waiting,
        free=tuple(place.address for place in fitting if place.free) if is_open and not waiting else (),
        reach=tuple(place.address for place in fitting),
        wait_ms=forecast(queue, skill, waiting + 1) if is_open else None,
        prefixes=prefixes,
    )


def given_up_at(record: CallRecord) -> datetime.datetime:
    """When it is over for a call that nobody takes, counted from when it was first wanted."""
    return max(record.since, record.due or record.since) + LONGEST_WAIT


def forecast(queue: Queue, skill: str, at: int) -> Wait | None:
    """By how long agents were kept lately.

    Whoever was not reached comes back to their place: in a short queue after this one, in a long one before. So the
    range goes from what tries take to what calls take with all their tries.
    """
    agents, held = sum(_serves(place, skill) for place in queue.agents), queue.holding.get(skill or ANY, Held())
    least, most = estimate(held.tries, at, agents), estimate(held.calls, at, agents)
    if least is None or most is None:
        return None
    return Wait(low=min(least.low, most.low), high=max(least.high, most.high))


def noted(holding: dict[str, Held], skill: str, took_ms: int, all_ms: int | None) -> dict[str, Held]:
    """What is known after one more try for a call of this skill; `all_ms` where it was the call's last."""
    held = holding.get(skill or ANY, Held())
    calls = held.calls.after(all_ms) if all_ms is not None else held.calls
    return {**holding, skill or ANY: Held(held.tries.after(took_ms), calls)}


def _serves(place: Place, skill: str) -> bool:
    return not skill or not place.skills or skill in place.skills


class Number(Struct, frozen=True):
    """Whom a call reaches: an address, and whether it has proven to be the contact's."""

    address: str
    is_proven: bool
    contact: str | None = None
    conversation: str | None = None
    name: str | None = None
