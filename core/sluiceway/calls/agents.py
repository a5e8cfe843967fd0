"""Who takes calls: what `agent.set` says, noted and told. Gives them none."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from sluiceway_contracts import AgentChanged, AgentSet, Command, Event, addresses, subjects

from ..checks import Refusal
from .book import Book
from .records import Agent
from .room import Room

STATES = frozenset({"available", "busy", "away", "offline"})


async def set_agent(book: Book, room: Room, command: Command, wanted: AgentSet) -> None:
    """Note who an agent is and what they do now. Raises `Refusal`, `Conflict` or `Unavailable`."""
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
        await book.set_desk(room, replace(room.desk.value, agents={**room.desk.value.agents, agent.agent_id: agent}))
    room.resting.pop(agent.agent_id, None)
    event = Event(
        id=book.identity.id(room.tenant, AgentChanged.type, command.id),
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
    await book.post.event(msgspec.Raw(event.encode()))
