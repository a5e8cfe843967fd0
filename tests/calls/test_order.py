"""Whose turn it is: nobody is passed over, and no agent is given more than they can take."""

from __future__ import annotations

import datetime
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.calls.order import Available, Waiting, assign, ordered, position

NOW = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)


def call(call_id: str, minutes: int = 10, **more: object) -> Waiting:
    """Somebody who has waited for so many minutes."""
    return msgspec.structs.replace(Waiting(call_id=call_id, since=NOW - minutes * MINUTE), **more)


def agent(agent_id: str, minutes: int = 10, **more: object) -> Available:
    """Somebody who has been free for so many minutes."""
    return msgspec.structs.replace(Available(agent_id=agent_id, free_since=NOW - minutes * MINUTE), **more)


def ids(*waiting: Waiting) -> list[str]:
    return [one.call_id for one in ordered(waiting, NOW)]


def test_whoever_has_waited_longer_is_first() -> None:
    assert ids(call("a", 5), call("b", 15), call("c", 10)) == ["b", "c", "a"]


def test_what_hurries_more_is_first_however_late_it_came() -> None:
    assert ids(call("a", 60), call("b", 1, priority=1), call("c", 90, priority=-1)) == ["b", "a", "c"]


def test_of_two_that_came_at_once_the_order_is_always_the_same() -> None:
    assert ids(call("b"), call("a")) == ids(call("a"), call("b")) == ["a", "b"]


def test_a_call_that_is_not_due_is_not_in_the_queue() -> None:
    later = call("a", 60, not_before=NOW + MINUTE)
    assert ids(later, call("b")) == ["b"]
    assert position([later], "a", NOW) is None
    assert position([later], "a", NOW + MINUTE) == 1
    assert assign([later], [agent("ann")], NOW) == ()


def test_a_call_that_has_become_due_has_the_place_of_its_first_asking() -> None:
    assert ids(call("a", 60, not_before=NOW), call("b", 30)) == ["a", "b"]


def test_a_place_is_counted_among_calls_for_the_same_skill() -> None:
    waiting = [call("a", 50), call("b", 40, skill="returns"), call("c", 30), call("d", 20, skill="returns")]
    assert [position(waiting, one, NOW) for one in "abcd"] == [1, 1, 2, 2]
    assert position(waiting, "e", NOW) is None


@pytest.mark.parametrize(
    ("skill", "skills", "is_put_through"),
    [
        (None, (), True),
        (None, ("returns",), True),
        ("returns", (), True),
        ("returns", ("returns", "sales"), True),
        ("returns", ("sales",), False),
    ],
)
def test_a_call_goes_to_those_who_have_its_skill(
    skill: str | None, skills: tuple[str, ...], is_put_through: bool
) -> None:
    assert bool(assign([call("a", skill=skill)], [agent("ann", skills=skills)], NOW)) == is_put_through


@pytest.mark.parametrize(
    "unable",
    [{"busy": 1}, {"capacity": 0}, {"busy": 3, "capacity": 2}, {"resting_until": NOW + MINUTE}],
    ids=str,
)
def test_nobody_is_given_a_call_while_busy_or_at_rest(unable: dict[str, object]) -> None:
    assert assign([call("a")], [msgspec.structs.replace(agent("ann"), **unable)], NOW) == ()


def test_a_rest_is_over_when_it_ends() -> None:
    assert assign([call("a")], [agent("ann", resting_until=NOW)], NOW) == (("a", "ann"),)


def test_whoever_has_been_free_for_longest_is_given_the_next_call() -> None:
    agents = [agent("ann", 5), agent("bob", 15), agent("cat", 10)]
    assert assign([call("a", 2), call("b", 1)], agents, NOW) == (("a", "bob"), ("b", "cat"))


def test_whoever_had_no_call_yet_has_been_free_for_longest() -> None:
    agents = [agent("ann", 500), Available(agent_id="bob")]
    assert assign([call("a")], agents, NOW) == (("a", "bob"),)


def test_a_second_call_in_hand_comes_after_a_first_for_everybody() -> None:
    agents = [agent("ann", 50, capacity=3), agent("bob", 5, capacity=3), agent("cat", 90, capacity=3, busy=1)]
    waiting = [call(str(n), 10 - n) for n in range(6)]
    assert [who for _, who in assign(waiting, agents, NOW)] == ["ann", "bob", "cat", "ann", "bob", "cat"]


def test_a_call_that_nobody_can_take_does_not_hold_up_the_others() -> None:
    waiting = [call("a", 50, skill="returns"), call("b", 40)]
    assert assign(waiting, [agent("ann", skills=("sales",))], NOW) == (("b", "ann"),)


SKILLS = st.sampled_from(["returns", "sales", "tax"])
MOMENTS = st.integers(-20, 20).map(lambda minutes: NOW + minutes * MINUTE)
QUEUES = st.lists(
    st.builds(
        Waiting,
        call_id=st.uuids().map(str),
        since=MOMENTS,
        skill=st.none() | SKILLS,
        priority=st.integers(-1, 1),
        not_before=st.none() | MOMENTS,
    ),
    max_size=12,
    unique_by=lambda one: one.call_id,
)
TEAMS = st.lists(
    st.builds(
        Available,
        agent_id=st.sampled_from("abcdef"),
        skills=st.lists(SKILLS, max_size=2).map(tuple),
        capacity=st.integers(0, 3),
        busy=st.integers(0, 3),
        resting_until=st.none() | MOMENTS,
        free_since=st.none() | MOMENTS,
    ),
    max_size=6,
    unique_by=lambda one: one.agent_id,
)


@given(QUEUES, TEAMS)
def test_nobody_is_passed_over_by_somebody_whose_agent_could_have_taken_them(
    waiting: list[Waiting], agents: list[Available]
) -> None:
    pairs = assign(waiting, agents, NOW)
    by_id = {one.agent_id: one for one in agents}
    due = [one.call_id for one in ordered(waiting, NOW)]
    skills = {one.call_id: one.skill for one in waiting}
    assigned = [call_id for call_id, _ in pairs]
    assert assigned == [call_id for call_id in due if call_id in assigned]
    for call_id, agent_id in pairs:
        passed = [one for one in due[: due.index(call_id)] if one not in assigned]
        assert not any(by_id[agent_id].can_take(skills[one]) for one in passed)


@given(QUEUES, TEAMS)
def test_nobody_is_given_more_calls_than_they_can_take_and_nobody_is_idle_who_could_take_one(
    waiting: list[Waiting], agents: list[Available]
) -> None:
    pairs = assign(waiting, agents, NOW)
    given_calls = Counter(agent_id for _, agent_id in pairs)
    left = [one for one in ordered(waiting, NOW) if one.call_id not in dict(pairs)]
    skills = {one.call_id: one.skill for one in waiting}
    by_id = {one.agent_id: one for one in agents}
    assert all(by_id[agent_id].can_take(skills[call_id]) for call_id, agent_id in pairs)
    for one in agents:
        has_room = one.is_rested(NOW) and one.busy + given_calls[one.agent_id] < one.capacity
        assert not given_calls[one.agent_id] or one.busy + given_calls[one.agent_id] <= one.capacity
        assert not given_calls[one.agent_id] or one.is_rested(NOW)
        assert not has_room or not any(one.can_take(call.skill) for call in left)


@given(QUEUES, TEAMS)
def test_the_order_in_which_things_are_given_changes_nothing(waiting: list[Waiting], agents: list[Available]) -> None:
    assert assign(waiting, agents, NOW) == assign(waiting[::-1], agents[::-1], NOW)


@given(QUEUES)
def test_places_are_counted_from_one_without_a_gap(waiting: list[Waiting]) -> None:
    for skill in {one.skill for one in waiting}:
        same = [one for one in ordered(waiting, NOW) if one.skill == skill]
        assert [position(waiting, one.call_id, NOW) for one in same] == list(range(1, len(same) + 1))
