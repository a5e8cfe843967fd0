"""What the queue of calls promises, story by story, on a virtual clock."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from sluiceway.calls.proof import code
from sluiceway.calls.room import Number
from sluiceway.sections import TenantCalls
from sluiceway_contracts import (
    AgentChanged,
    CallCancel,
    CallEnded,
    CallPlace,
    CallQueue,
    CallQueued,
    CallRequested,
    CallStep,
    CallUpdated,
    Command,
    Error,
    MessageSent,
    uuid7,
)

from .world import SECRET, START, Person, World, agent, request

SECOND, MINUTE = datetime.timedelta(seconds=1), datetime.timedelta(minutes=1)


def world(**policy: Any) -> World:
    return World(1, TenantCalls(**({"prefixes": ("+44",)} | policy)))


def ask(there: World, at: datetime.datetime = START, number: int = 0, *outcomes: str, **fields: Any) -> str:
    """A request at this time; the customer talks for a minute once they are reached."""
    call_id = uuid7()
    there.people[call_id] = Person(list(outcomes), 60)
    there.give(request(call_id, number, **fields), at)
    return call_id


def states(there: World, call_id: str) -> list[str]:
    """What was told of a call, in order."""
    found = []
    for event in there.events.values():
        if getattr(event.data, "call_id", None) == call_id and not isinstance(event.data, CallQueued):
            found.append(getattr(event.data, "state"))  # noqa: B009
    return found


def ending(there: World, call_id: str) -> CallEnded:
    (data,) = [data for _, data in there.of(CallEnded) if data.call_id == call_id]
    return data


async def test_who_is_free_takes_the_call_at_once_and_nobody_is_told_to_wait() -> None:
    there = world()
    there.give(agent(1))
    call_id = ask(there)
    await there.run()
    assert states(there, call_id)[:3] == ["requested", "offered", "answered"]
    assert ending(there, call_id).state == "answered"
    assert ending(there, call_id).duration_ms == 60_000
    assert not there.of(CallQueued)


async def test_a_call_becomes_a_message_of_its_conversation() -> None:
    there = world()
    there.give(agent(1))

    async def number(tenant: str, conversation: str | None, address: str | None) -> Number:
        return Number("tel:+447700900001", True, uuid7(), uuid7())

    there.number = number  # type: ignore[method-assign]  # so it is here
    call_id = ask(there)
    await there.run()
    ((_, sent),) = there.of(MessageSent)
    assert sent.message.id == call_id
    assert sent.message.author.agent_id == "agent-1"
    assert "spoke for 60 s" in sent.message.text


async def test_while_all_are_busy_each_has_a_place_and_is_told_it_in_words() -> None:
    there = world()
    there.give(agent(1))

    async def number(tenant: str, conversation: str | None, address: str | None) -> Number:
        return Number(address or "", True, uuid7(), uuid7())

    there.number = number  # type: ignore[method-assign]  # so it is here
    for place in range(3):
        ask(there, START + place * SECOND, place)
    await there.run()
    first = dict[str, int | None]()
    for _, queued in there.of(CallQueued):
        first.setdefault(queued.call_id, queued.position)
    assert list(first.values()) == [1, 2]
    assert any("number 2 in the queue." in text for text in there.texts)


async def test_an_agent_who_does_not_take_it_is_left_alone_and_the_next_is_asked() -> None:
    there = world()
    there.dice.choices = lambda *_: ["declined"] if not there.dialled[1:] else ["accepted"]  # type: ignore[method-assign]  # so it is here
    there.give(agent(1))
    there.give(agent(2), START + SECOND)
    call_id = ask(there, START + 2 * SECOND)
    await there.run()
    offers = [data.by.agent_id for _, data in there.of(CallUpdated) if data.state == "offered" and data.by]
    assert offers == ["agent-1", "agent-2"]
    assert ending(there, call_id).state == "answered"


async def test_a_customer_who_is_not_reached_is_tried_again_then_given_up() -> None:
    there = world(retries_s=(300, 1800))
    there.give(agent(1))
    call_id = ask(there, START, 0, "busy", "no_answer", "no_answer")
    await there.run()
    end = ending(there, call_id)
    assert (end.state, end.disposition) == ("given_up", "no-answer")
    retries = [data.retry_at for _, data in there.of(CallUpdated) if data.retry_at is not None]
    assert len(retries) == 2
    assert there.customers_called[call_id] == 3
    assert retries[1] - retries[0] >= datetime.timedelta(seconds=1800)


async def test_a_call_that_is_cancelled_while_the_agent_rings_is_hung_up_on() -> None:
    there = world()
    there.give(agent(1))
    call_id = ask(there)
    there.give(CallCancel(call_id=call_id, reason="customer"), START + 2 * SECOND)
    await there.run()
    assert states(there, call_id)[-1] == "canceled"
    assert not there.of(MessageSent)


async def test_nobody_is_called_outside_business_hours_but_when_they_begin() -> None:
    there = world(zone="Europe/London", hours={"mon": ("10:00-12:00",)})
    there.give(agent(1))
    call_id = ask(there)  # a Monday, 9:00
    await there.run()
    ((_, requested),) = there.of(CallRequested)
    assert (requested.state, requested.not_before) == ("scheduled", START + datetime.timedelta(hours=1))
    (offered,) = [event for event, data in there.of(CallUpdated) if data.state == "offered"]
    assert START + datetime.timedelta(hours=1) <= offered.time < START + datetime.timedelta(hours=1, seconds=10)
    assert ending(there, call_id).state == "answered"


async def test_a_scheduled_time_is_waited_for() -> None:
    there = world()
    there.give(agent(1))
    ask(there, START, not_before=START + 30 * MINUTE)
    await there.run()
    (offered,) = [event for event, data in there.of(CallUpdated) if data.state == "offered"]
    assert offered.time >= START + 30 * MINUTE


async def test_what_is_scheduled_for_days_ahead_is_not_given_up_before() -> None:
    there = world()
    there.give(agent(1))
    at = START + datetime.timedelta(days=5)
    call_id = ask(there, START, not_before=at)
    await there.run()
    (offered,) = [event.time for event, data in there.of(CallUpdated) if data.state == "offered"]
    assert offered >= at
    assert ending(there, call_id).state == "answered"


async def test_whom_nobody_takes_is_given_up_after_a_week() -> None:
    there = world()
    call_id = ask(there, START, skill="a skill that nobody has")
    await there.run()
    assert ending(there, call_id).state == "given_up"
    assert there.now - START >= datetime.timedelta(days=7)


async def test_a_number_that_nobody_proved_is_asked_for_proof_and_called_only_then() -> None:
    there = world()
    there.give(agent(1))

    async def number(tenant: str, conversation: str | None, address: str | None) -> Number:
        return Number(address or "", False)

    there.number = number  # type: ignore[method-assign]  # so it is here
    proven, not_proven = ask(there), ask(there, START + SECOND, 1)
    there.give(CallStep(call_id=proven, step="proven"), START + MINUTE)
    await there.run()
    assert code(SECRET, proven) in there.texts[0]
    assert states(there, proven)[0] == "unproven"
    assert ending(there, proven).state == "answered"
    end = ending(there, not_proven)
    assert (end.state, end.error and end.error.code) == ("given_up", "unproven")
    assert {call_id for call_id, _, _ in there.dialled} == {proven}


async def test_a_thousand_abusive_requests_place_no_more_calls_than_the_caps_allow() -> None:
    there = world(per_number_day=3, per_hour=20)
    for number in range(5):
        there.give(agent(number))
    for number in range(500):
        ask(there, START + number * SECOND, 7)  # one number again and again
    for number in range(500):
        ask(there, START + (500 + number) * SECOND, 100 + number)
    await there.run()
    assert len({call_id for call_id, _, _ in there.dialled}) == 20
    assert set(there.refused) == {"too_many", "already_waiting"}
    assert sum(there.refused.values()) == 980


async def test_numbers_elsewhere_are_not_called() -> None:
    there = world(prefixes=("+49",))
    ask(there)
    await there.run()
    assert there.refused == {"destination_not_allowed": 1}


async def test_an_agent_may_claim_a_call_out_of_turn() -> None:
    there = world()
    there.give(agent(1, state="busy"))
    first, second = ask(there), ask(there, START + SECOND, 1)
    there.give(CallPlace(call_id=second, agent_id="agent-1"), START + MINUTE)
    there.give(CallPlace(call_id=second, agent_id="agent-1"), START + MINUTE + SECOND)
    there.give(CallPlace(call_id=first, agent_id="nobody"), START + 2 * MINUTE)
    there.give(CallCancel(call_id=first), START + 3 * MINUTE)
    await there.run()
    assert ending(there, second).state == "answered"
    assert there.refused == {"not_waiting": 1, "unknown_agent": 1}


async def test_calls_go_to_those_who_have_the_skill_and_to_as_many_as_they_take() -> None:
    there = world()
    there.give(agent(1, skills=("returns",)))
    there.give(agent(2, skills=("sales",), capacity=2))
    for number in range(2):
        ask(there, START + SECOND, number, skill="sales")
    await there.run()
    offers = [data.by.agent_id for _, data in there.of(CallUpdated) if data.state == "offered" and data.by]
    assert set(offers) == {"agent-2"}


async def test_a_customer_who_may_have_been_dialled_and_cannot_be_found_is_told_as_unknown() -> None:
    there = world(first="customer")
    there.deaf = True
    there.give(agent(1))
    call_id = ask(there)
    there.give(CallStep(call_id=call_id, step="lost", leg="customer", attempt=1), START + SECOND)
    await there.run()
    assert ending(there, call_id).state == "unknown"


@pytest.mark.parametrize("step", ["lost", "failed"])
async def test_what_could_not_be_found_and_is_there_goes_on(step: str) -> None:
    there = world()
    there.give(agent(1))
    call_id = ask(there, START)
    error = Error(code="not_placed" if step == "failed" else "unknown", message="no such call")
    there.give(CallStep(call_id=call_id, step=step, leg="agent", attempt=1, error=error), START + 2 * SECOND)
    await there.run()
    assert ending(there, call_id).state == "answered"
    assert len(there.dialled) == 1


async def test_a_command_from_beyond_the_calendar_stops_nobody() -> None:
    there = world()
    there.give(agent(1))
    never = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    ask(there, START, 0, not_before=never)
    call_id = ask(there, START, 1)
    await there.run()
    assert there.refused == {"too_early": 1}
    assert ending(there, call_id).state == "answered"


async def test_a_fault_over_one_call_is_no_other_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    there = world()
    there.give(agent(1))
    broken, whole = ask(there), ask(there, START + MINUTE, 1)
    event = there.event

    async def faulty(told: Any) -> None:
        if broken.encode() in bytes(told) and b"offered" in bytes(told):
            raise OverflowError("a fault of ours")
        await event(told)

    monkeypatch.setattr(there, "event", faulty)
    await there.run()
    assert ending(there, whole).state == "answered"


async def test_a_call_of_which_nothing_more_is_heard_ends_and_its_agent_is_free() -> None:
    there = world()
    there.deaf = True
    there.give(agent(1))
    call_id, other = ask(there), ask(there, START + SECOND, 1)
    there.give(CallStep(call_id=call_id, step="connected", leg="customer", attempt=1), START + 9 * SECOND)
    await there.run()
    assert ending(there, call_id).state == "unknown"
    assert ending(there, other).state == "given_up"  # nothing is ever heard of it: after days it is over


async def test_who_asks_twice_waits_once() -> None:
    there = world()
    first, second = ask(there), ask(there)
    there.give(CallCancel(call_id=first), START + SECOND)
    third = ask(there, START + 2 * SECOND)
    there.give(agent(1), START + MINUTE)
    await there.run()
    assert there.refused == {"already_waiting": 1}
    assert ending(there, third).state == "answered"
    assert not states(there, second)


async def test_a_login_that_is_refused_costs_nobody_a_try() -> None:
    there = world(first="customer")
    there.deaf = True
    there.give(agent(1))
    call_id = ask(there)
    error = Error(code="credentials_refused", message="who are you")
    there.give(CallStep(call_id=call_id, step="failed", leg="customer", attempt=1, error=error), START + 2 * SECOND)
    there.give(CallCancel(call_id=call_id), START + 3 * MINUTE)
    await there.run()
    offered = [event.time for event, data in there.of(CallUpdated) if data.state == "offered"]
    assert offered[1] - offered[0] >= MINUTE
    assert not there.texts


async def test_who_waits_is_told_that_they_are_next_once_however_many_agents_do_not_answer() -> None:
    there = world()
    there.dice.choices = lambda *_: ["no_answer"]  # type: ignore[method-assign]  # so it is here
    there.give(agent(1))

    async def number(tenant: str, conversation: str | None, address: str | None) -> Number:
        return Number(address or "", True, uuid7(), uuid7())

    there.number = number  # type: ignore[method-assign]  # so it is here
    call_id = ask(there)
    there.give(CallCancel(call_id=call_id), START + 60 * MINUTE)
    await there.run()
    assert len(there.dialled) > 10
    assert len(there.texts) == 1


async def test_a_customer_who_hangs_up_before_an_agent_is_there_was_tried() -> None:
    there = world(first="customer")
    there.deaf = True
    there.give(agent(1))
    call_id = ask(there)
    for step in ("answered", "completed"):
        there.give(CallStep(call_id=call_id, step=step, leg="customer", attempt=1), START + 5 * SECOND)
    there.give(CallCancel(call_id=call_id), START + 6 * MINUTE)
    await there.run()
    assert len(there.dialled) == 2  # again after five minutes


async def test_writing_cancel_takes_nobody_out_of_a_conversation_on_the_phone() -> None:
    there = world()
    there.give(agent(1))
    call_id = ask(there)
    there.people[call_id] = Person([], 600)
    there.give(CallCancel(call_id=call_id, reason="customer"), START + 5 * MINUTE)
    await there.run()
    assert ending(there, call_id).state == "answered"
    assert ending(there, call_id).duration_ms == 600_000


async def test_an_old_word_of_an_agent_changes_nothing() -> None:
    there = world()
    there.give(agent(1), START)
    there.give(agent(1, state="away"), START + MINUTE)
    await there.run()
    await there._deliver(Command(tenant="acme", time=START, data=agent(1)))
    assert (await there._made.queue("acme", CallQueue())).agents == 0


class TestSomebodyCalls:
    """The gateway tells each step; nobody is dialled by us until they are called back."""

    def arrive(self, there: World, at: datetime.datetime = START, number: int = 5) -> str:
        call_id = uuid7()
        there.people[call_id] = Person([], 60)
        there.give(self.step(call_id, "arrived", leg="customer", address=f"tel:+4477009{number:05}"), at)
        return call_id

    def step(self, call_id: str, step: str, **fields: Any) -> CallStep:
        return CallStep(call_id=call_id, step=step, external_id="CA1", account="uk-voice", **fields)

    async def test_a_missed_call_is_called_back_in_its_turn(self) -> None:
        there = world()
        call_id = self.arrive(there)
        other = ask(there, START + SECOND)
        there.give(self.step(call_id, "hung_up", leg="customer"), START + 10 * SECOND)
        there.give(agent(1), START + MINUTE)
        await there.run()
        assert list(dict.fromkeys(call for call, _, _ in there.dialled)) == [call_id, other]
        assert ending(there, call_id).state == "answered"

    async def test_who_chooses_a_call_back_keeps_the_place_of_their_arrival(self) -> None:
        there = world()
        call_id = self.arrive(there)
        ask(there, START + SECOND)
        there.give(self.step(call_id, "wants_call_back", leg="customer"), START + 20 * SECOND)
        await there.run()
        (queued,) = [data for _, data in there.of(CallQueued) if data.call_id == call_id]
        assert queued.position == 1

    async def test_who_hangs_up_after_talking_has_been_spoken_with(self) -> None:
        there = world()
        there.give(agent(1))
        call_id = self.arrive(there, START + SECOND)
        for seconds, step in ((5, "accepted"), (6, "connected")):
            there.give(self.step(call_id, step, leg="agent", address="tel:+442079460001"), START + seconds * SECOND)
        there.give(self.step(call_id, "hung_up", leg="customer", duration_ms=70_000), START + 70 * SECOND)
        await there.run()
        assert (ending(there, call_id).state, ending(there, call_id).duration_ms) == ("answered", 70_000)
        assert not there.dialled

    async def test_hanging_up_that_is_told_before_the_arrival_is_a_missed_call(self) -> None:
        there = world()
        call_id = uuid7()
        there.people[call_id] = Person([], 60)
        there.give(self.step(call_id, "hung_up", leg="customer", address="tel:+447700900005"), START)
        there.give(self.step(call_id, "arrived", leg="customer", address="tel:+447700900005"), START + SECOND)
        there.give(agent(1), START + MINUTE)
        await there.run()
        assert ending(there, call_id).state == "answered"

    async def test_a_message_that_is_told_after_the_hanging_up_is_no_missed_call(self) -> None:
        there = world()
        call_id = self.arrive(there)
        there.give(self.step(call_id, "hung_up", leg="customer"), START + MINUTE)
        there.give(self.step(call_id, "left_message", leg="customer"), START + MINUTE + SECOND)
        await there.run()
        assert ending(there, call_id).state == "voicemail"

    async def test_what_an_agent_presses_after_the_caller_is_gone_counts_for_nothing(self) -> None:
        there = world()
        call_id = self.arrive(there)
        there.give(self.step(call_id, "hung_up", leg="customer"), START + 5 * SECOND)
        for step in ("accepted", "connected", "completed"):
            there.give(self.step(call_id, step, leg="agent", address="tel:+442079460001"), START + 6 * SECOND)
        there.give(agent(1), START + MINUTE)
        await there.run()
        assert there.customers_called[call_id] == 1
        assert ending(there, call_id).duration_ms == 60_000

    async def test_callers_starve_nobody_who_waits(self) -> None:
        there = world()
        there.give(agent(1, state="busy"))
        waiting = ask(there)
        for number in range(30):
            self.arrive(there, START + number * 20 * SECOND, 100 + number)
        there.give(agent(1), START + MINUTE)
        await there.run()
        offered = [event.time for event, data in there.of(CallUpdated) if data.state == "offered"]
        assert offered[0] == START + MINUTE
        assert ending(there, waiting).state == "answered"

    async def test_who_calls_a_number_with_a_skill_waits_for_whoever_has_it(self) -> None:
        there = world()
        call_id = uuid7()
        there.people[call_id] = Person([], 60)
        there.give(self.step(call_id, "arrived", address="tel:+447700900005", skill="returns"), START)
        there.give(self.step(call_id, "hung_up", leg="customer"), START + SECOND)
        there.give(agent(1, skills=("sales",)), START + MINUTE)
        there.give(agent(2, skills=("returns",)), START + 2 * MINUTE)
        await there.run()
        assert {data.by.agent_id for _, data in there.of(CallUpdated) if data.by} == {"agent-2"}

    async def test_an_agent_who_takes_it_at_once_is_busy_with_it(self) -> None:
        there = world()
        there.give(agent(1))
        call_id = self.arrive(there, START + SECOND)
        at = START + 5 * SECOND
        other = ask(there, at + SECOND)
        there.give(self.step(call_id, "accepted", leg="agent", address="tel:+442079460001"), at)
        there.give(self.step(call_id, "connected", leg="agent"), at + SECOND)
        there.give(self.step(call_id, "completed", leg="customer", duration_ms=90_000), at + 91 * SECOND)
        await there.run()
        end = ending(there, call_id)
        assert (end.state, end.duration_ms, end.by and end.by.agent_id) == ("answered", 90_000, "agent-1")
        offered = [event.time for event, data in there.of(CallUpdated) if data.state == "offered"]
        assert min(offered) > at + 90 * SECOND
        assert ending(there, other).state == "answered"

    async def test_a_message_left_ends_it(self) -> None:
        there = world()
        call_id = self.arrive(there)
        there.give(self.step(call_id, "left_message", leg="customer"), START + MINUTE)
        there.give(self.step(call_id, "hung_up", leg="customer"), START + MINUTE + SECOND)
        await there.run()
        assert ending(there, call_id).state == "voicemail"
        assert not there.dialled

    async def test_a_caller_abroad_or_without_a_number_is_not_called_back(self) -> None:
        there = world(prefixes=("+49",))
        call_id = self.arrive(there)
        there.give(self.step(call_id, "hung_up", leg="customer"), START + SECOND)
        await there.run()
        assert ending(there, call_id).state == "given_up"


async def test_agents_are_told_of_and_what_is_no_agent_is_refused() -> None:
    there = world()
    there.give(agent(1))
    there.give(agent(1, reach=(), state="away"), START + SECOND)
    there.give(agent(2, state="asleep"), START + SECOND)
    there.give(agent(3, reach=("nonsense",)), START + SECOND)
    await there.run()
    assert [data.state for _, data in there.of(AgentChanged)] == ["available", "away"]
    assert there.refused == {"invalid": 2}


async def test_how_long_it_would_take_is_answered_or_left_open_honestly() -> None:
    there = world()
    there.give(agent(1))
    await there.run()
    answer = await there._made.queue("acme", CallQueue())
    assert (answer.is_open, answer.agents, answer.free, answer.position) == (True, 1, 1, 1)
    assert answer.wait_ms is not None
    assert answer.wait_ms.high == 0
    there.give(agent(1, state="busy"))
    call_id = ask(there, there.now)
    await there.run(there.now + SECOND)
    answer = await there._made.queue("acme", CallQueue(call_id=call_id))
    assert (answer.free, answer.waiting, answer.position, answer.wait_ms) == (0, 1, 1, None)


@pytest.mark.parametrize("first", ["agent", "customer"])
async def test_who_is_dialled_first_is_as_configured(first: str) -> None:
    there = world(first=first)
    there.give(agent(1))
    ask(there)
    await there.run()
    assert there.dialled[0][2] == first
