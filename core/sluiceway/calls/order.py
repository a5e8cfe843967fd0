"""Who is called next, and by whom. Decides from what it is given alone; it neither keeps the queue nor dials."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from msgspec import Struct

_LONG_AGO = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Waiting(Struct, frozen=True, kw_only=True):
    """A call that waits, `since` it was first asked for, and is not due before `not_before`."""

    call_id: str
    since: datetime.datetime
    skill: str | None = None
    priority: int = 0
    not_before: datetime.datetime | None = None

    def is_due(self, now: datetime.datetime) -> bool:
        return self.not_before is None or self.not_before <= now


class Available(Struct, frozen=True, kw_only=True):
    """An agent at work with `busy` calls in hand. One without `skills` takes any call, as any takes one without skill.

    Until `resting_until` they are given nothing. `free_since` is when their last call ended; None: they had none.
    """

    agent_id: str
    skills: tuple[str, ...] = ()
    capacity: int = 1
    busy: int = 0
    resting_until: datetime.datetime | None = None
    free_since: datetime.datetime | None = None

    def is_rested(self, now: datetime.datetime) -> bool:
        return self.resting_until is None or self.resting_until <= now

    def can_take(self, skill: str | None) -> bool:
        return skill is None or not self.skills or skill in self.skills


def ordered(waiting: Iterable[Waiting], now: datetime.datetime) -> tuple[Waiting, ...]:
    """Those that are due: the higher priority first, then who has waited longer, then by `call_id`."""
    due = [call for call in waiting if call.is_due(now)]
    return tuple(sorted(due, key=lambda call: (-call.priority, call.since, call.call_id)))


def position(waiting: Iterable[Waiting], call_id: str, now: datetime.datetime) -> int | None:
    """The place of a call among those for the same skill, from 1; None for one that is not due or does not wait."""
    due = ordered(waiting, now)
    skill = next((call.skill for call in due if call.call_id == call_id), None)
    same = [call.call_id for call in due if call.skill == skill]
    return same.index(call_id) + 1 if call_id in same else None


def assign(
    waiting: Iterable[Waiting], agents: Iterable[Available], now: datetime.datetime
) -> tuple[tuple[str, str], ...]:
    """Who is to be called now, and by whom: pairs of call and agent, in order.

    Each call that is due gets, of the agents who can take it, the one with the fewest calls in hand, and of several the
    one who has been free for longest. Which skills are left for those who come after is not looked at.
    """
    at_work = [agent for agent in agents if agent.is_rested(now)]
    at_work.sort(key=lambda agent: (agent.free_since or _LONG_AGO, agent.agent_id))
    busy = {agent.agent_id: agent.busy for agent in at_work}
    pairs: list[tuple[str, str]] = []
    hopeless: set[str | None] = set()
    for call in ordered(waiting, now):
        if call.skill in hopeless:
            continue
        able = [agent for agent in at_work if busy[agent.agent_id] < agent.capacity and agent.can_take(call.skill)]
        if not able:
            hopeless.add(call.skill)
            continue
        chosen = min(able, key=lambda agent: busy[agent.agent_id])
        busy[chosen.agent_id] += 1
        pairs.append((call.call_id, chosen.agent_id))
    return tuple(pairs)
