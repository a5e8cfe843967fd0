"""Telephone calls, as a gateway's author sees them: what is to be dialled, what became of it, what may be looked up.

Nothing here does I/O. Who is called when is core's to decide; a gateway dials, tells each step, and says on the line
what it is told to.
"""

from __future__ import annotations

import datetime
from typing import Generic, Literal, TypeAlias

from msgspec import Struct
from typing_extensions import TypeVar

from sluiceway_contracts import Wait

from .settings import Account

A = TypeVar("A", bound=Account, default=Account)

Leg: TypeAlias = Literal["agent", "customer"]


class Dial(Struct, Generic[A], frozen=True, kw_only=True):
    """One leg to dial from `account`: `address` is a URI. `since` is when this attempt was decided on."""

    account: A
    call_id: str
    attempt: int
    leg: Leg
    address: str
    ring_ms: int
    since: datetime.datetime


class Ask(Struct, frozen=True):
    """What a flow of `receive` may yield besides requests: a look at what core knows, answered within the deadline.

    `what` is call, by its id, answered by a `CallView` or None; or queue, by a skill or "", answered by a `QueueView`.
    `at` is our number. Where core can't look, `Unavailable` is thrown into the flow.
    """

    what: Literal["call", "queue"]
    at: str
    key: str = ""


class CallView(Struct, frozen=True, kw_only=True):
    """A call as it is now. `state` is the queue's word: waiting, offered, accepted, connected, ended, or others.

    `attempt` is the one that counts: a leg of an earlier one is over. `first` is who is dialled first. `customer` and
    `agent` are addresses. `reason` is what it is about, `name` the customer's. With `record`, consent is announced.
    """

    call_id: str
    state: str
    attempt: int
    first: Leg
    customer: str | None = None
    agent: str | None = None
    agent_name: str | None = None
    name: str | None = None
    reason: str | None = None
    record: bool = False


class QueueView(Struct, frozen=True, kw_only=True):
    """What somebody who calls now can be told. `free` are the addresses of agents who can take the call at once.

    `reach` are those of all who are at work. `wait_ms` is how long it would take; None where nobody can say honestly.
    Numbers that may be called back begin with one of `prefixes`, such as "+44".
    """

    is_open: bool
    waiting: int = 0
    free: tuple[str, ...] = ()
    reach: tuple[str, ...] = ()
    wait_ms: Wait | None = None
    prefixes: tuple[str, ...] = ()
