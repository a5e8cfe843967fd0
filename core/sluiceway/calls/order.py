"""stand-in"""

from __future__ import annotations

import datetime

from msgspec import Struct


class Waiting(Struct, frozen=True):
    call_id: str
    skill: str
    priority: int
    since: datetime.datetime
    not_before: datetime.datetime | None = None


class Available(Struct, frozen=True):
    agent_id: str
    skills: tuple[str, ...]
    capacity: int
    busy: int
    resting_until: datetime.datetime | None = None
    free_since: datetime.datetime | None = None


def ordered(waiting, now):
    return sorted(
        (w for w in waiting if w.not_before is None or w.not_before <= now),
        key=lambda w: (-w.priority, w.since, w.call_id),
    )


def position(waiting, call_id, now):
    me = next((w for w in waiting if w.call_id == call_id), None)
    if me is None:
        return None
    ids = [w.call_id for w in ordered(waiting, now) if w.skill == me.skill]
    return ids.index(call_id) + 1 if call_id in ids else None


def assign(waiting, agents, now):
    free = {a.agent_id: a.capacity - a.busy for a in agents if a.resting_until is None or a.resting_until <= now}
    by = {a.agent_id: a for a in agents}
    out = []
    for w in ordered(waiting, now):
        fits = [i for i, n in free.items() if n > 0 and (not w.skill or not by[i].skills or w.skill in by[i].skills)]
        if fits:
            chosen = min(
                fits, key=lambda i: (by[i].free_since or datetime.datetime.min.replace(tzinfo=datetime.UTC), i)
            )
            free[chosen] -= 1
            out.append((w.call_id, chosen))
    return tuple(out)
