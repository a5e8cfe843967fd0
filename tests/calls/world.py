"""A day of calls on a virtual clock: customers, agents, a telephone network, and processes that are killed.

Everything is drawn from one seed. What NATS does is done in memory: compare-and-set, one message for one id, and a
message that was not acknowledged comes again.
"""

from __future__ import annotations

import datetime
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from sluiceway.bus.store import Conflict, Entry
from sluiceway.calls.records import CallIndex, CallRecord, Desk
from sluiceway.calls.room import Number
from sluiceway.calls.switchboard import Switchboard
from sluiceway.checks import Refusal
from sluiceway.identity import Identity
from sluiceway.sections import Calls, TenantCalls
from sluiceway_contracts import (
    AgentSet,
    CallDial,
    CallEnded,
    CallHangUp,
    CallQueued,
    CallRequest,
    CallStep,
    CallUpdated,
    Command,
    Event,
    MessageSend,
    uuid7,
)
from sluiceway_contracts.commands import CommandData

T = TypeVar("T")
START = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
SECRET = b"a secret for tests only"


class Killed(BaseException):
    """The process ended here."""


class Memory(Generic[T]):
    """A bucket. A process may be killed just before it is written, or just after."""

    def __init__(self, mortal: Callable[[], None]) -> None:
        self.values: dict[str, Entry[T]] = {}
        self._numbers = itertools.count(1)
        self._mortal = mortal

    async def get(self, key: str) -> Entry[T] | None:
        return self.values.get(key)

    async def create(self, key: str, value: T) -> int:
        return await self.update(key, value, 0)

    async def update(self, key: str, value: T, revision: int) -> int:
        self._mortal()
        known = self.values.get(key)
        if (known.revision if known is not None else 0) != revision:
            raise Conflict(key, known)
        number = next(self._numbers)
        copy = msgspec.json.decode(msgspec.json.encode(value), type=type(value))
        self.values[key] = Entry(copy, number)
        self._mortal()
        return number

    async def put(self, key: str, value: T) -> int:
        known = self.values.get(key)
        return await self.update(key, value, known.revision if known is not None else 0)

    async def delete(self, key: str, revision: int) -> None:
        del self.values[key]


class Person:
    """A customer, as the network finds them when they are called, time after time."""

    def __init__(self, outcomes: list[str], talks_s: float) -> None:
        self.outcomes = outcomes
        self.talks_s = talks_s


class World:
    """One tenant's day."""

    def __init__(self, seed: int, policy: TenantCalls, *, kills: float = 0.0) -> None:
        self.dice = random.Random(seed)  # the same day for the same seed
        self.now = START
        self.events: dict[str, Event] = {}
        self.texts: list[str] = []
        self.refused: Counter[str] = Counter()
        self.dialled: list[tuple[str, int, str]] = []
        self.customers_called: Counter[str] = Counter()
        self.people: dict[str, Person] = {}
        self.killed = 0
        self.deaf = False
        """Whether nothing is heard of what is dialled."""
        self._policy = policy
        self._kills = kills
        self._heap: list[tuple[datetime.datetime, int, Command]] = []
        self._numbers = itertools.count()
        self._taken: set[str] = set()
        self._calls = Memory[CallRecord](self._mortal)
        self._indexes = Memory[CallIndex](self._mortal)
        self._desks = Memory[Desk](self._mortal)
        self.queues = Memory[Any](self._mortal)
        self._epoch = 0
        self._made = self._switchboard()

    def give(self, data: CommandData, at: datetime.datetime | None = None, id: str = "") -> None:
        """Have a command delivered at this time."""
        at = at or self.now
        command = Command(tenant="acme", time=at, data=data, id=id or uuid7())
        heapq.heappush(self._heap, (at, next(self._numbers), command))

    async def run(self, until: datetime.datetime | None = None) -> None:
        """Until nothing is left to be delivered, or until this time."""
        while self._heap and (until is None or self._heap[0][0] <= until):
            at, _, command = heapq.heappop(self._heap)
            self.now = max(self.now, at)
            await self._deliver(command)
            if self.dice.random() < self._kills:
                await self._deliver(command)  # its acknowledgement was lost

    async def _deliver(self, command: Command) -> None:
        while True:
            try:
                await self._made.take(command, self._epoch)
            except Killed:
                self.killed += 1
                self._epoch += 1
                self._made = self._switchboard()
            except Refusal as refusal:
                self.refused[refusal.code] += 1
                return
            else:
                return

    def _mortal(self) -> None:
        if self.dice.random() < self._kills:
            raise Killed

    def _switchboard(self) -> Switchboard:
        return Switchboard(
            self._calls,
            self._indexes,
            self._desks,
            self.queues,
            post=self,
            people=self,
            identity=Identity(SECRET),
            settings=Calls(tenants={"acme": self._policy}),
            secret=SECRET,
            clock=lambda: self.now,
        )

    # What the switchboard sends to

    async def event(self, event: msgspec.Raw) -> None:
        self._mortal()
        told = Event.decode(bytes(event))
        self.events.setdefault(told.id, told)

    async def command(self, command: msgspec.Raw) -> None:
        self._mortal()
        ordered = Command.decode(bytes(command))
        if ordered.id in self._taken:
            return
        self._taken.add(ordered.id)
        match ordered.data:
            case CallDial() as dial:
                self._dial(dial)
            case CallHangUp():
                pass
            case MessageSend(parts=parts):
                self.texts.append(parts[0].plain())

    async def fetch(self, tenant: str, account: str, fetch: msgspec.Raw) -> None:
        self._mortal()

    async def wake(self, tenant: str, at: datetime.datetime) -> None:
        self._mortal()
        self.give(CallStep(call_id="", step="due"), at + datetime.timedelta(seconds=1))

    # What is known of people

    async def number(self, tenant: str, conversation: str | None, address: str | None) -> Number | None:
        return Number(address or "tel:+447700900000", True, "contact", None)

    async def caller(self, tenant: str, account: str, address: str, assurance: str) -> Number:
        return Number(address, True, "contact", None)

    async def account(self, tenant: str) -> str | None:
        return "uk-voice"

    async def texts_by(self, tenant: str) -> tuple[str, str] | None:
        return "sms", "uk-sms"

    async def is_revoked(self, tenant: str, address: str) -> bool:
        return False

    # The telephone network

    def _dial(self, dial: CallDial) -> None:
        """What becomes of an agent's leg, and then of the customer's; a gateway that is killed looks the call up."""
        self.dialled.append((dial.call_id, dial.attempt, dial.leg))
        if dial.leg == "customer":
            self._customer_first(dial)
            return
        at = self.now + datetime.timedelta(seconds=self.dice.uniform(0.2, 1))
        if self.dice.random() < self._kills:
            at += datetime.timedelta(seconds=17)
            if self.dice.random() < 0.2:
                self._step(dial, "lost", "agent", at)
                return
        self._step(dial, "placed", "agent", at)
        at += datetime.timedelta(seconds=self.dice.uniform(3, 15))
        answer = self.dice.choices(("accepted", "declined", "no_answer"), (0.9, 0.05, 0.05))[0]
        self._step(dial, answer, "agent", at)
        if answer == "accepted":
            self._customer(dial, at)

    def _customer(self, dial: CallDial, at: datetime.datetime) -> None:
        self.customers_called[dial.call_id] += 1
        person = self.people[dial.call_id]
        outcome = person.outcomes.pop(0) if person.outcomes else "connected"
        at += datetime.timedelta(seconds=self.dice.uniform(2, 20))
        self._step(dial, outcome, "customer", at)
        if outcome == "connected":
            at += datetime.timedelta(seconds=person.talks_s)
            self._step(dial, "completed", "customer", at, duration_ms=int(person.talks_s * 1000))
            self._step(dial, "completed", "agent", at + datetime.timedelta(seconds=0.1))

    def _customer_first(self, dial: CallDial) -> None:
        """The customer is dialled, then put through to the agent."""
        self.customers_called[dial.call_id] += 1
        person, at = self.people[dial.call_id], self.now + datetime.timedelta(seconds=10)
        outcome = person.outcomes.pop(0) if person.outcomes else "connected"
        self._step(dial, "placed", "customer", self.now + datetime.timedelta(seconds=1))
        if outcome != "connected":
            self._step(dial, outcome, "customer", at)
            return
        self._step(dial, "answered", "customer", at)
        for step in ("accepted", "connected"):
            at += datetime.timedelta(seconds=8)
            self._step(dial, step, "agent", at)
        at += datetime.timedelta(seconds=person.talks_s)
        self._step(dial, "completed", "agent", at)
        self._step(dial, "completed", "customer", at, duration_ms=int(person.talks_s * 1000))

    def _step(self, dial: CallDial, step: str, leg: str, at: datetime.datetime, **more: Any) -> None:
        id = f"{dial.call_id}:{dial.attempt}:{leg}:{step}"
        if self.deaf:
            return
        sid = f"CA{dial.call_id}{dial.attempt}{leg}"
        data = CallStep(
            call_id=dial.call_id, step=step, leg=leg, attempt=dial.attempt, external_id=sid, occurred_at=at, **more
        )
        self.give(data, at, id)
        if self.dice.random() < 2 * self._kills:
            self.give(data, at + datetime.timedelta(seconds=3), id)

    # What came of it

    def of(self, kind: type[T]) -> list[tuple[Event, T]]:
        return [(event, event.data) for event in self.events.values() if isinstance(event.data, kind)]


def agent(number: int, **fields: Any) -> AgentSet:
    """An agent with a telephone."""
    fields = {"state": "available", "name": f"Agent {number}", "reach": (f"tel:+44207946{number:04}",)} | fields
    return AgentSet(agent_id=f"agent-{number}", **fields)


def request(call_id: str, number: int = 0, **fields: Any) -> CallRequest:
    """Somebody wants to be called."""
    return CallRequest(call_id=call_id, address=f"tel:+4477009{number:05}", **fields)


__all__ = ["START", "CallEnded", "CallQueued", "CallUpdated", "Person", "World", "agent", "request"]
