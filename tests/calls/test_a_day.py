"""A thousand requests, five agents, processes killed at random: each ends once, in order, nobody dialled twice."""

from __future__ import annotations

import datetime
from collections import Counter

import pytest

from sluiceway.sections import TenantCalls
from sluiceway_contracts import CallCancel, CallEnded, CallQueued, CallUpdated, uuid7

from .world import START, Person, World, agent, request

POLICY = TenantCalls(prefixes=("+44",), per_hour=100_000, updates=False)


async def a_day(seed: int, kills: float, count: int = 1000) -> tuple[World, dict[str, datetime.datetime]]:
    """Requests come by a Poisson process; calls last log-normally, 245 s at the median.

    One in eight is not reached at first, one in thirty is taken back after an exponential time.
    """
    world = World(seed, POLICY, kills=kills)
    for number in range(5):
        world.give(agent(number))
    at, asked = START, dict[str, datetime.datetime]()
    for number in range(count):
        at += datetime.timedelta(seconds=world.dice.expovariate(1 / 62))
        call_id = uuid7()
        asked[call_id] = at
        outcomes = world.dice.choices(([], ["no_answer"], ["busy", "no_answer"], ["busy"] * 3), (88, 6, 3, 3))[0]
        world.people[call_id] = Person(list(outcomes), world.dice.lognormvariate(5.5, 0.5))
        world.give(request(call_id, number), at)
        if world.dice.random() < 0.03:
            later = datetime.timedelta(seconds=world.dice.expovariate(1 / 300))
            world.give(CallCancel(call_id=call_id, reason="customer"), at + later)
    await world.run()
    return world, asked


@pytest.mark.parametrize(("seed", "kills"), [(1, 0.0), (2, 0.002), (3, 0.02)])
async def test_every_request_ends_once_and_nobody_is_dialled_twice(seed: int, kills: float) -> None:
    world, asked = await a_day(seed, kills)
    ends = Counter(data.call_id for _, data in world.of(CallEnded))
    assert set(ends) == set(asked)
    assert set(ends.values()) == {1}
    states = Counter(data.state for _, data in world.of(CallEnded))
    assert set(states) <= {"answered", "given_up", "canceled", "unknown"}
    assert states["answered"] > 900
    assert max(Counter(world.dialled).values()) == 1
    assert max(world.customers_called.values()) <= 1 + len(POLICY.retries_s)
    assert bool(world.killed) == bool(kills)


async def test_whoever_asked_first_is_offered_first() -> None:
    world, asked = await a_day(4, 0.002)
    firsts = dict[str, datetime.datetime]()
    for event, data in world.of(CallUpdated):
        if data.state == "offered":
            firsts.setdefault(data.call_id, event.time)
    in_order = sorted(firsts, key=lambda call_id: asked[call_id])
    assert sorted(firsts, key=lambda call_id: (firsts[call_id], asked[call_id])) == in_order
    assert len(firsts) > 950


@pytest.mark.parametrize("seed", [5, 7])
async def test_the_true_wait_lies_in_the_published_range_four_times_in_five(seed: int) -> None:
    world, _ = await a_day(seed, 0.0)
    told = dict[str, tuple[datetime.datetime, CallQueued]]()
    for event, queued in world.of(CallQueued):
        if queued.wait_ms is not None:
            told.setdefault(queued.call_id, (event.time, queued))
    offered = dict[str, datetime.datetime]()
    for event, updated in world.of(CallUpdated):
        if updated.state == "offered":
            offered.setdefault(updated.call_id, event.time)
    right = 0
    told = {call_id: one for call_id, one in told.items() if call_id in offered}  # the others were taken back
    for call_id, (at, queued) in told.items():
        assert queued.wait_ms is not None
        waited_ms = (offered[call_id] - at).total_seconds() * 1000
        right += queued.wait_ms.low <= waited_ms <= queued.wait_ms.high
    assert len(told) > 200
    assert right / len(told) >= 0.8
