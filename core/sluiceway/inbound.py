"""What a provider delivers, on its way in: verified, read, stored, and only then answered.

The order is fixed. Nothing is acknowledged before JetStream has it, or the disk where the provider would not come
again; what fails in here is the provider's 503, so that it does. Reads no sockets and knows no provider.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog

from sluiceway_contracts import addresses
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Accounts
from .budget import Budget
from .driver import Driver
from .errors import Ambiguous, Malformed, Throttled, TooLarge, Unavailable, Unreachable, Unverified
from .facts import Facts, explained
from .gateway import (
    AnyFact,
    Ask,
    CallStep,
    Collector,
    Consent,
    Desk,
    Intake,
    Receipt,
    Received,
    Remark,
    Retries,
    Unreadable,
    Webhook,
)
from .record import Record
from .spool import Spool
from .throttle import Throttle
from .wire import Request, Response

log = structlog.get_logger(__name__)

RETRY_LATER = Response(status=503, headers={"retry-after": "5"})
STORE_BUDGET_S = 1.5
"""For a whole delivery, where its parts wait for each other; one that waits for NATS alone is done within a second."""


COLLECT_S = 120
"""For a delivery that only tells of something: to fetch it, read it and store its files."""


class Inbound:
    """The way in, for every hook of this process. `facts` is None until NATS was reached for the first time.

    `desks` are those of connections that collect, by name; `asked` answers what gateways ask of core.
    """

    def __init__(
        self, accounts: Accounts, driver: Driver, spool: Spool | None = None, facts: Facts | None = None
    ) -> None:
        self.facts = facts
        self.desks: Mapping[str, Desk] = {}
        self.asked: Callable[[str, Ask], Awaitable[Any]] | None = None
        self._accounts = accounts
        self._driver = driver
        self._spool = spool
        self._throttle = Throttle()
        self._budget = Budget(STORE_BUDGET_S)

    async def deliver(self, connections: Sequence[str], request: Request) -> Response:
        """Take a delivery on a hook that these connections share, and give the provider's answer. Never raises."""
        there = [connection for connection in connections if connection in self._accounts.gateways]
        if not there:  # they left between the look at the path and now
            return Response(status=404)
        webhooks = [self._webhook(connection) for connection in there]
        reply = await self._deliver(there, request)
        headers: dict[str, str] = {}
        for webhook in webhooks:
            headers |= webhook.answer_headers(request)
        return msgspec.structs.replace(reply, headers={**reply.headers, **headers}) if headers else reply

    async def accept(self, record: Record) -> None:
        """Store what a listener was delivered. Raises `Unavailable`."""
        outcome = "stored"
        try:
            await self._put(record, [])
        except TooLarge as error:
            raise Unavailable(str(error)) from error
        except Unavailable:
            outcome = "unavailable"
            raise
        finally:
            metrics.count(metrics.deliveries, record.connection, outcome).inc()

    async def store(self, record: Record) -> None:
        """Put a delivery out of the spool on the stream. Raises `Unavailable`."""
        await self._put(record, [])

    async def _deliver(self, connections: Sequence[str], request: Request) -> Response:
        refusal: Unverified | Malformed | None = None
        reply: Response | None = None
        for connection in connections:
            if connection not in self._accounts.gateways:  # it left while the one before it was served
                continue
            try:
                self._webhook(connection).verify(request)
            except (Unverified, Malformed) as error:
                refusal = error
                continue
            if wait_s := self._throttle.wait_s(connection, self._webhook(connection).limits(request)):
                metrics.count(metrics.deliveries, connection, "limited").inc()
                log.debug("delivery.limited", connection=connection)
                reply = reply or Response(status=429, headers={"retry-after": str(math.ceil(wait_s))})
                continue
            try:
                taken = await self._take(connection, request)
            except (Unavailable, TooLarge) as error:
                metrics.count(metrics.deliveries, connection, "unavailable").inc()
                log.error("delivery.unavailable", connection=connection, error=str(error))
                return RETRY_LATER
            reply = reply or taken
        if reply is not None:
            return reply
        return self._refuse(connections[0], refusal)

    def _refuse(self, connection: str, error: Unverified | Malformed | None) -> Response:
        metrics.count(metrics.deliveries, connection, "refused").inc()
        log.warning("delivery.refused", connection=connection, why=str(error))
        return Response(status=error.status if isinstance(error, Malformed) else 403)

    async def _take(self, connection: str, request: Request) -> Response:
        spool = self._spool if self._accounts.gateways[connection].capabilities.retries is Retries.BRIEF else None
        if self.facts is None and spool is None:
            raise Unavailable("NATS was not reached yet")
        channel = self._accounts.channel_of(connection)
        record = Record(connection=connection, channel=channel, arrived_at=now(), request=request)
        outcome, reply = "stored", self._webhook(connection).accepted
        try:
            if await self._collected(connection, request):
                return reply
            intake = await self._receive(connection, request)
        except Unavailable:
            raise
        except Exception as error:
            outcome, record = "parked", msgspec.structs.replace(record, unreadable=explained(connection, error))
        else:
            reply, record = intake.reply, msgspec.structs.replace(record, facts=intake.facts)
            if not intake.facts:
                metrics.count(metrics.deliveries, connection, "discarded" if intake.discarded else "answered").inc()
                return reply
        if not await self._keep(record, spool):
            outcome = "spooled"
        metrics.count(metrics.deliveries, connection, outcome).inc()
        return reply

    async def _collected(self, connection: str, request: Request) -> bool:
        """Whether it told of something to collect, and that is stored. Raises `Unavailable`, or `Malformed`."""
        gateway = self._accounts.gateways[connection]
        if not isinstance(gateway, Collector):
            return False
        if connection not in self.desks:
            raise Unavailable("nothing can be collected yet")
        try:
            async with asyncio.timeout(COLLECT_S):
                await gateway.collect(request, self.desks[connection])
        except TimeoutError as error:
            raise Unavailable("what it tells of could not be collected in time") from error
        return True

    async def _receive(self, connection: str, request: Request) -> Intake:
        received = self._webhook(connection).receive(request)
        if isinstance(received, Intake):
            return received
        try:
            ask = partial(self.asked, connection) if self.asked is not None else None
            return await self._driver.play(received, ask)
        except (Unreachable, Throttled, Ambiguous) as error:
            raise Unavailable(f"the provider could not be asked: {error.code}") from error

    async def _keep(self, record: Record, spool: Spool | None) -> bool:
        """Whether the stream has it; else the spool has what the stream has not. Raises `Unavailable`."""
        stored: list[AnyFact] = []
        try:
            if spool is not None and spool.holds(record):
                raise Unavailable("what came before it from the same sender waits too")
            with self._budget.spent():
                await self._put(record, stored)
        except TimeoutError:
            error: Exception = Unavailable("NATS did not answer in time")
        except (Unavailable, TooLarge) as caught:
            error = caught
        else:
            return True
        if spool is None:
            raise error
        log.info("delivery.spooled", connection=record.connection, why=str(error))
        rest = msgspec.structs.replace(record, facts=record.facts[len(stored) :])
        await spool.put(rest.for_disk(whole=self._may_be_parked(rest)))
        return False

    async def _put(self, record: Record, stored: list[AnyFact]) -> None:
        """Each fact in order; `stored` grows as they are."""
        if self.facts is None:
            raise Unavailable("NATS was not reached yet")
        if record.unreadable is not None:
            await self.facts.park(record, record.unreadable)
        for fact in record.facts:
            await self.facts.take(record, fact)
            stored.append(fact)

    def _may_be_parked(self, record: Record) -> bool:
        unusable = (_sender(self._accounts, record.connection, fact) is None for fact in record.facts)
        return record.unreadable is not None or any(unusable)

    def _webhook(self, connection: str) -> Webhook:
        gateway = self._accounts.gateways[connection]
        assert isinstance(gateway, Webhook)  # noqa: S101  # hooks are made of these alone
        return gateway


def senders(accounts: Accounts, record: Record) -> Iterator[int]:
    """Whose order the delivery is part of, as numbers: each contact's, each sent message's."""
    for fact in record.facts:
        yield hash(_sender(accounts, record.connection, fact) or (record.connection, fact.at))


def _sender(accounts: Accounts, connection: str, fact: AnyFact) -> tuple[str, str] | None:
    """None for a fact that will be parked."""
    served = accounts.at(connection, fact.at)
    if served is None:
        return None
    try:
        match fact:
            case Received() | Remark():
                return served.tenant, addresses.normalise(fact.sender)
            case Consent():
                return served.tenant, addresses.normalise(fact.address)
            case Receipt(external_id=about) | CallStep(call_id=about):
                return served.tenant, about
            case Unreadable():
                return None
    except (addresses.InvalidAddress, TypeError, AttributeError):  # the gateway's word is not to be trusted
        return None
