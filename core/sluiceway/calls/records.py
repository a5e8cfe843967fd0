"""What KV has of calls and agents. Structures alone.

One process at a time writes them, the active dispatcher; each change carries what is to be told and ordered because of
it (`events`, `commands`, …), written together with it: whoever finds it after a crash sends it again, under the same
ids.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from sluiceway_contracts.values import Time

from .estimate import Holding

WAITING, UNPROVEN, ARRIVED = "waiting", "unproven", "arrived"
OFFERED, ACCEPTED, CONNECTED = "offered", "accepted", "connected"
ENDED = "ended"
IN_HAND = frozenset({OFFERED, ACCEPTED, CONNECTED})
"""An agent is busy with these."""
SEEN = 40


class CallRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`<tenant>.call.<call>`. `since` is when it was asked for, `due` when it may be tried, `deadline` when it is over.

    `attempt` rises with each offer to an agent and each giving up of one, `tries` with each time that the customer was
    dialled in vain, which kept agents for `held_ms`. `legs` are the provider's ids of what was dialled at this attempt.
    `seen` are the inputs that are in it already, `serial` numbers what it told.
    """

    call_id: str
    state: str
    since: Time
    account: str
    direction: str = "outbound"
    address: str | None = None
    contact: str | None = None
    conversation: str | None = None
    writable: bool = False
    skill: str = ""
    priority: int = 0
    reason: str | None = None
    name: str | None = None
    first: str = "agent"
    record: bool = False
    due: Time | None = None
    deadline: Time | None = None
    attempt: int = 0
    tries: int = 0
    held_ms: int = 0
    agent: str | None = None
    agent_address: str | None = None
    agent_name: str | None = None
    legs: tuple[str, ...] = ()
    offered_at: Time | None = None
    connected_at: Time | None = None
    ended_at: Time | None = None
    outcome: str | None = None
    position: int | None = None
    told_at: Time | None = None
    told_next: bool = False
    serial: int = 0
    seen: tuple[str, ...] = ()
    saved_at: Time | None = None
    events: tuple[msgspec.Raw, ...] = ()
    commands: tuple[msgspec.Raw, ...] = ()
    fetches: tuple[msgspec.Raw, ...] = ()


class Open(Struct, frozen=True, omit_defaults=True):
    """One call that has not ended, as whoever reads customers' messages needs it."""

    conversation: str | None = None
    unproven: str | None = None
    """The number that is to be proven."""


class Asked(Struct, frozen=True):
    """That a call to a number was asked for; `number` is the address's key."""

    at: Time
    number: str
    call_id: str


class CallIndex(Struct, frozen=True):
    """`<tenant>.calls`: the calls that have not ended, and which were asked for within a day."""

    open: dict[str, Open] = {}
    asked: tuple[Asked, ...] = ()


class Agent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who takes calls, as `agent.set` says."""

    agent_id: str
    state: str
    name: str | None = None
    skills: tuple[str, ...] = ()
    reach: tuple[str, ...] = ()
    capacity: int = 1
    set_at: Time | None = None


class Held(Struct, frozen=True, omit_defaults=True):
    """How long agents are kept by one try to reach somebody, and by all tries of a call until it has ended."""

    tries: Holding = Holding()
    calls: Holding = Holding()


class Desk(Struct, frozen=True, omit_defaults=True):
    """`<tenant>.desk`: the agents, and how long calls keep them, by skill."""

    agents: dict[str, Agent] = {}
    holding: dict[str, Held] = {}


class Place(Struct, frozen=True, omit_defaults=True):
    """An agent, as somebody who calls now would meet them."""

    address: str
    skills: tuple[str, ...] = ()
    free: bool = False


class Queue(Struct, frozen=True, omit_defaults=True):
    """`<tenant>.queue`: what gateways tell callers: how many wait by skill, who is at work, how long calls take."""

    waiting: dict[str, int] = {}
    agents: tuple[Place, ...] = ()
    holding: dict[str, Held] = {}


def call_key(tenant: str, call_id: str) -> str:
    return f"{tenant}.call.{call_id}"
