"""Calls that the dispatcher ordered, placed by the gateway of their account, each once: what is unsure is looked up.

The intent is written before the provider is asked. Who finds one, after a crash, asks the provider whether there is
such a call; nobody dials again.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from msgspec import Struct

from sluiceway_contracts import CallDial, CallHangUp, CallStep, Command, Error
from sluiceway_contracts.values import Time, now

from ..accounts import Served
from ..bus.link import Link
from ..bus.store import Bucket, Conflict
from ..driver import Driver
from ..errors import Ambiguous, Rejected, SendError, Throttled, Unreachable
from ..gateway import Caller, Dial
from ..health import Health
from ..identity import Identity
from ..patience import surely
from .outbox import give

log = structlog.get_logger(__name__)

TRIES_S = (1.0, 3.0)
LOOKS_S = (2.0, 5.0, 10.0)
"""What a provider took may be a moment away from where it lists its calls."""


NOT_PLACED = Error(code="not_placed", message="the provider has no such call")
EXPIRED = Error(code="expired", message="it was ordered too long ago")
UNKNOWN = Error(code="unknown", message="nobody can say whether it was placed")


class Placed(Struct, frozen=True, omit_defaults=True):
    """`<tenant>.d.<call>_<attempt>_<leg>`: that it was to be dialled, and since when it is settled."""

    at: Time
    settled: bool = False


class Placing:
    """The calls of one account."""

    def __init__(
        self,
        served: Served,
        link: Link,
        prefix: str,
        *,
        identity: Identity,
        placed: Bucket[Placed],
        driver: Driver,
        health: Health,
    ) -> None:
        self._served = served
        self._link = link
        self._prefix = prefix
        self._identity = identity
        self._placed = placed
        self._driver = driver
        self._health = health

    async def run(self, command: Command) -> None:
        """Dial, or hang up, and tell. Returns when it is told; done again, it does nothing twice."""
        if isinstance(command.data, CallDial):
            await self._dial(command.data)
        elif isinstance(command.data, CallHangUp):
            await self._hang_up(command.data)

    async def _dial(self, wanted: CallDial) -> None:
        key = f"{self._served.tenant}.d.{wanted.call_id}_{wanted.attempt}_{wanted.leg}"
        found = await surely(self._placed.get, key)
        order = self._order(wanted, found.value.at if found is not None else now())
        if found is None:
            try:
                revision = await surely(self._placed.create, key, Placed(order.since))
            except Conflict:
                return await self._dial(wanted)
            step = await self._place(order, wanted) if not _is_late(wanted) else _step(wanted, "failed", error=EXPIRED)
        elif found.value.settled:
            return None
        else:
            revision = found.revision
            step = await self._find(order, wanted)
        await self._tell(step, wanted)
        try:
            await surely(self._placed.update, key, Placed(order.since, True), revision)
        except Conflict:
            log.info("call.settled_elsewhere", account=self._served.name, call=wanted.call_id)
        return None

    async def _place(self, order: Dial, wanted: CallDial) -> CallStep:
        for wait_s in (*TRIES_S, None):
            try:
                async with self._health.turn():
                    sid = await self._driver.play(self._gateway.dial(order))
                return _step(wanted, "placed", external_id=sid)
            except Ambiguous:
                return await self._find(order, wanted)
            except Rejected as error:
                return _step(wanted, "failed", error=_error(error))
            except (Throttled, Unreachable) as busy:
                if wait_s is None:
                    return _step(wanted, "failed", error=_error(busy))
                await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns")

    async def _find(self, order: Dial, wanted: CallDial) -> CallStep:
        """Look whether it was placed: failed where it certainly was not, lost where nobody can say."""
        log.info("call.looked_up", account=self._served.name, call=wanted.call_id, attempt=wanted.attempt)
        answered = False
        for wait_s in LOOKS_S:
            await asyncio.sleep(wait_s)
            try:
                sid = await self._driver.play(self._gateway.find(order))
            except SendError as error:
                log.warning("call.not_looked_up", account=self._served.name, why=str(error))
                answered = False
                continue
            if sid is not None:
                return _step(wanted, "placed", external_id=sid)
            answered = True
        if answered:
            return _step(wanted, "failed", error=NOT_PLACED)
        return _step(wanted, "lost", error=UNKNOWN)

    async def _hang_up(self, wanted: CallHangUp) -> None:
        for wait_s in (*TRIES_S, None):
            try:
                await self._driver.play(self._gateway.hang_up(self._served.account, wanted.external_id))
            except SendError as error:
                if wait_s is None or isinstance(error, Rejected):
                    log.warning("call.not_hung_up", account=self._served.name, why=str(error))
                    return
                await asyncio.sleep(wait_s)
            else:
                return

    async def _tell(self, step: CallStep, wanted: CallDial) -> None:
        served = self._served
        full = _with(step, channel=served.channel, account=served.name, address=wanted.address)
        id = self._identity.id(served.tenant, "call", wanted.call_id, str(wanted.attempt), wanted.leg, step.step)
        await surely(publish, self._link, self._prefix, served, full, id)

    def _order(self, wanted: CallDial, since: Time) -> Dial:
        return Dial(
            account=self._served.account,
            call_id=wanted.call_id,
            attempt=wanted.attempt,
            leg="customer" if wanted.leg == "customer" else "agent",
            address=wanted.address,
            ring_ms=wanted.ring_ms,
            since=since,
        )

    @property
    def _gateway(self) -> Caller:
        gateway = self._served.gateway
        assert isinstance(gateway, Caller)  # noqa: S101  # `checks` lets no other gateway's pass
        return gateway


async def publish(link: Link, prefix: str, served: Served, step: CallStep, id: str) -> None:
    """Tell the dispatcher of a step. Raises `Unavailable`."""
    command = Command(
        id=id,
        tenant=served.tenant,
        source=f"/{served.tenant}/{served.channel}/{served.name}",
        actorrole="system",
        data=step,
    )
    await give(link, prefix, command)


def _is_late(wanted: CallDial) -> bool:
    return wanted.expires_at is not None and now() >= wanted.expires_at


def _step(wanted: CallDial, step: str, external_id: str | None = None, error: Error | None = None) -> CallStep:
    return CallStep(
        call_id=wanted.call_id,
        step=step,
        leg=wanted.leg,
        attempt=wanted.attempt,
        external_id=external_id,
        error=error,
        occurred_at=now(),
    )


def _with(step: CallStep, **fields: str) -> CallStep:
    return msgspec.structs.replace(step, **fields)


def _error(error: SendError) -> Error:
    code = error.provider_code if isinstance(error, Rejected) else None
    return Error(code=error.code, message=str(error), provider_code=code)
