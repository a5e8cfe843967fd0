"""One message on its way to the provider: tried until it is answered, and never twice where nobody knows.

Intent is in the ledger before the provider is asked; an intent that a crash left open ends as `unknown`. What the
provider answered is written before it is told.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from sluiceway_contracts import Error, Piece
from sluiceway_contracts.parts import AnyPart
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Served
from .bus.store import Conflict
from .checks import Aim, Task
from .driver import Driver
from .errors import Ambiguous, OptedOut, Rejected, SendError, Throttled, Unreachable
from .gateway import Outbound, Sender, Sent
from .ledger import Ledger, MessageRecord
from .patience import surely
from .reports import Reports

log = structlog.get_logger(__name__)

RETRIES_S = (1, 5, 30, 120, 600, 1800)
AT_ONCE = 100


class Entry:
    """A message's record in the ledger, as this process last wrote it."""

    def __init__(self, ledger: Ledger, tenant: str, message_id: str, record: MessageRecord, revision: int) -> None:
        self.record = record
        self._ledger = ledger
        self._tenant = tenant
        self._message_id = message_id
        self._revision = revision

    async def note(self, **changes: object) -> None:
        """Write what changed. Where another process wrote meanwhile, what this one knows of its own send stands."""
        self.record = msgspec.structs.replace(self.record, **changes)
        while True:
            try:
                write = self._ledger.write
                self._revision = await surely(write, self._tenant, self._message_id, self.record, self._revision)
                return
            except Conflict:
                found = await surely(self._ledger.get, self._tenant, self._message_id)
                self._revision = found.revision if found is not None else 0


class Sending:
    """Sends the messages of one account, at most `AT_ONCE` at a time."""

    def __init__(self, served: Served, ledger: Ledger, reports: Reports, driver: Driver) -> None:
        self._served = served
        self._ledger = ledger
        self._reports = reports
        self._driver = driver
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._log = log.bind(account=served.name)

    async def send(self, task: Task, aim: Aim, parts: tuple[AnyPart, ...]) -> None:
        """Send it, or finish what an earlier process began. Returns when the ledger and the stream know the end."""
        tenant, message_id = self._served.tenant, task.send.message_id
        record = MessageRecord(
            state="intent",
            command_id=task.command.id,
            channel=self._served.channel,
            account=self._served.name,
            contact=aim.contact,
            conversation=aim.conversation,
            pieces=(Piece(index=1, of=1, status="accepted", recipient=aim.address),),
        )
        try:
            revision = await surely(self._ledger.begin, tenant, message_id, record)
        except Conflict:
            found = await surely(self._ledger.get, tenant, message_id)
            if found is None or found.value.command_id != task.command.id:
                self._log.info("message.known", message=message_id)
                return
            await self._resume(task, parts, Entry(self._ledger, tenant, message_id, found.value, found.revision))
        else:
            await self._try(task, parts, Entry(self._ledger, tenant, message_id, record, revision))

    async def _resume(self, task: Task, parts: tuple[AnyPart, ...], entry: Entry) -> None:
        match entry.record.state:
            case "waiting":
                await self._try(task, parts, entry)
            case "intent":
                lost = Ambiguous("the process ended while the provider was asked")
                await self._end(task, entry, "unknown", lost)
            case _ if entry.record.pieces[0].external_id is not None:
                await self._reports.sent(task, entry.record)
            case _:
                await self._reports.status(task, entry.record)

    async def _try(self, task: Task, parts: tuple[AnyPart, ...], entry: Entry) -> None:
        while now() < task.expires_at:
            if entry.record.state != "intent":
                await entry.note(state="intent", attempt=entry.record.attempt + 1)
            try:
                sent = await self._ask_provider(task, parts, entry)
            except (Throttled, Unreachable) as error:
                if entry.record.attempt > len(RETRIES_S):
                    await self._end(task, entry, "failed", error)
                    return
                await entry.note(state="waiting")
                await self._pause(task, entry, error)
            except Ambiguous as error:
                await self._end(task, entry, "unknown", error)
                return
            except Rejected as error:
                await self._end(task, entry, "rejected", error)
                return
            except Exception as error:
                self._log.exception("gateway.error", message=task.send.message_id)
                await self._end(task, entry, "unknown", Ambiguous(f"{type(error).__name__} in the gateway"))
                return
            else:
                await self._sent(task, entry, sent)
                return
        await self._end(task, entry, "expired", SendError("it could not be sent in time"))

    async def _ask_provider(self, task: Task, parts: tuple[AnyPart, ...], entry: Entry) -> Sent:
        gateway = self._served.gateway
        assert isinstance(gateway, Sender)  # noqa: S101  # only accounts of senders are served
        message = Outbound(
            message_id=task.send.message_id,
            account=self._served.account,
            recipient=entry.record.pieces[0].recipient or "",
            parts=parts,
            reply_to=task.send.reply_to,
        )
        async with self._at_once:
            started = time.perf_counter()
            try:
                return await self._driver.play(gateway.send(message))
            finally:
                metrics.provider_seconds.labels(self._served.name).observe(time.perf_counter() - started)

    async def _pause(self, task: Task, entry: Entry, error: Throttled | Unreachable) -> None:
        wait_s: float = RETRIES_S[entry.record.attempt - 1]
        if isinstance(error, Throttled) and error.retry_after_s is not None:
            wait_s = error.retry_after_s
        left_s = (task.expires_at - now()).total_seconds()
        self._log.warning("message.retry", message=task.send.message_id, why=error.code, wait_s=round(wait_s, 1))
        await asyncio.sleep(max(0.1, min(wait_s, left_s)))

    async def _sent(self, task: Task, entry: Entry, sent: Sent) -> None:
        piece = msgspec.structs.replace(entry.record.pieces[0], external_id=sent.external_id)
        await entry.note(state="done", pieces=(piece,), segments=sent.segments, price=sent.price)
        self._log.info("message.sent", message=task.send.message_id, conversation=entry.record.conversation)
        metrics.count(metrics.commands, self._served.name, "sent").inc()
        await self._reports.sent(task, entry.record)

    async def _end(self, task: Task, entry: Entry, status: str, error: SendError) -> None:
        code = error.provider_code if isinstance(error, Rejected) else None
        reason = Error(code=error.code, message=str(error), provider_code=code)
        piece = msgspec.structs.replace(entry.record.pieces[0], status=status, error=reason)
        await entry.note(state="done", pieces=(piece,))
        self._log.warning("message.not_sent", message=task.send.message_id, status=status, code=error.code)
        metrics.count(metrics.commands, self._served.name, status).inc()
        await self._reports.status(task, entry.record)
        if isinstance(error, OptedOut):
            await self._reports.opted_out(task, entry.record, code)
