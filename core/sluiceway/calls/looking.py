"""What a gateway is told while somebody is on the line: one look into KV, nothing more."""

from __future__ import annotations

from sluiceway_contracts import is_uuid
from sluiceway_contracts.values import now

from ..accounts import Accounts
from ..bus.store import Bucket
from ..errors import Unavailable
from ..gateway import Ask, CallView, QueueView
from ..sections import Calls
from .hours import Hours
from .records import CallRecord, Queue, call_key
from .room import view


class Looking:
    """Answers the questions of this process's gateways. Raises `Unavailable`."""

    def __init__(self, accounts: Accounts, calls: Bucket[CallRecord], queues: Bucket[Queue], settings: Calls) -> None:
        self._accounts = accounts
        self._calls = calls
        self._queues = queues
        self._prefixes = {tenant: policy.prefixes for tenant, policy in settings.tenants.items()}
        self._hours = {tenant: Hours(policy) for tenant, policy in settings.tenants.items()}

    async def answer(self, connection: str, ask: Ask) -> CallView | QueueView | None:
        """What is known of a call, or of a queue."""
        served = self._accounts.at(connection, ask.at)
        if served is None:
            raise Unavailable("no account has this identity")
        if ask.what == "call":
            return await self._call(served.tenant, ask.key)
        hours = self._hours.get(served.tenant)
        if hours is None:
            return QueueView(is_open=False)
        found = await self._queues.get(f"{served.tenant}.queue")
        return view(
            found.value if found is not None else Queue(),
            ask.key,
            is_open=hours.is_open(now()),
            prefixes=self._prefixes[served.tenant],
        )

    async def _call(self, tenant: str, call_id: str) -> CallView | None:
        found = await self._calls.get(call_key(tenant, call_id)) if is_uuid(call_id) else None
        if found is None:
            return None
        record = found.value
        return CallView(
            call_id=record.call_id,
            state=record.state,
            attempt=record.attempt,
            first="customer" if record.first == "customer" else "agent",
            customer=record.address,
            agent=record.agent_address,
            agent_name=record.agent_name,
            name=record.name,
            reason=record.reason,
            record=record.record,
        )
