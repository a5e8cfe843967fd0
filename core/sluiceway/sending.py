"""One message on its way to the provider, piece by piece: tried until answered, never twice where nobody knows.

Intent is in the ledger before the provider is asked, what it answered before the next piece. An intent that a crash
left open ends as `unknown`, and the pieces after it still go out: most likely it arrived.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from sluiceway_contracts import Error, Piece
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Served
from .bus.store import Conflict
from .checks import Aim, Task
from .driver import Driver
from .errors import (
    Ambiguous,
    CredentialsRefused,
    OptedOut,
    Rejected,
    SendError,
    Throttled,
    Unreachable,
)
from .gateway import Outbound, Sender, Sent
from .health import Health
from .ledger import Ledger, MessageRecord
from .pace import Pace
from .patience import surely
from .render import Content
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

    @property
    def piece(self) -> Piece:
        """The piece that is being sent."""
        return self.record.pieces[self.record.at - 1]

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

    async def settle(self, **changes: object) -> None:
        """Write what became of the piece, and in the same breath the intent to send the next, or that all is done."""
        record, at = self.record, self.record.at
        piece = msgspec.structs.replace(self.piece, **changes)
        pieces = (*record.pieces[: at - 1], piece, *record.pieces[at:])
        if at < len(pieces):
            await self.note(pieces=pieces, at=at + 1, tries=1, state="intent")
        else:
            await self.note(pieces=pieces, state="done")


class Sending:
    """Sends the messages of one account, at most `AT_ONCE` at a time, at its pace."""

    def __init__(self, served: Served, ledger: Ledger, reports: Reports, driver: Driver, health: Health) -> None:
        self._served = served
        self._ledger = ledger
        self._reports = reports
        self._driver = driver
        self._health = health
        capabilities = served.gateway.capabilities
        self._pace = Pace(capabilities.rate, capabilities.recipient_rate)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._log = log.bind(account=served.name)

    async def send(self, task: Task, aim: Aim, contents: tuple[Content, ...]) -> None:
        """Send it, or finish what an earlier process began. Returns when the ledger and the stream know the end."""
        tenant, message_id = self._served.tenant, task.send.message_id
        count = len(contents)
        record = MessageRecord(
            state="intent",
            command_id=task.command.id,
            channel=self._served.channel,
            account=self._served.name,
            contact=aim.contact,
            conversation=aim.conversation,
            pieces=tuple(
                Piece(index=index, of=count, status="accepted", recipient=aim.address) for index in range(1, count + 1)
            ),
        )
        try:
            revision = await surely(self._ledger.begin, tenant, message_id, record)
        except Conflict:
            found = await surely(self._ledger.get, tenant, message_id)
            if found is None or found.value.command_id != task.command.id:
                self._log.info("message.known", message=message_id)
                return
            entry = Entry(self._ledger, tenant, message_id, found.value, found.revision)
            if entry.record.state == "intent":
                await self._unknown(entry, Ambiguous("the process ended while the provider was asked"))
        else:
            entry = Entry(self._ledger, tenant, message_id, record, revision)
        while entry.record.state != "done":
            await self._piece(task, contents[entry.record.at - 1], entry)
        await self._tell(task, entry.record)

    async def _piece(self, task: Task, content: Content, entry: Entry) -> None:
        """One try of the piece that is next; returns when the ledger knows what came of it."""
        left_s = (task.expires_at - now()).total_seconds()
        try:
            if left_s <= 0:
                raise TimeoutError
            async with asyncio.timeout(left_s) as until:
                await self._pace.wait(entry.piece.recipient or "")
                async with self._at_once, self._health.turn():
                    if entry.record.state != "intent":
                        await entry.note(state="intent", tries=entry.record.tries + 1)
                    until.reschedule(None)  # what is begun is not cut off: nobody would know what became of it
                    sent = await self._ask_provider(task, content, entry)
        except TimeoutError:
            await self._end(entry, "expired", SendError("it could not be sent in time"))
        except CredentialsRefused as error:
            await entry.note(state="waiting", tries=entry.record.tries - 1)
            self._log.warning("message.waits", message=task.send.message_id, why=error.code)
        except (Throttled, Unreachable) as error:
            await self._again(task, entry, error)
        except Ambiguous as error:
            await self._unknown(entry, error)
        except Rejected as error:
            await self._end(entry, "rejected", error)
        else:
            segments = sum(filter(None, (entry.record.segments, sent.segments))) or None
            entry.record = msgspec.structs.replace(entry.record, segments=segments, price=sent.price)
            await entry.settle(external_id=sent.external_id)

    async def _ask_provider(self, task: Task, content: Content, entry: Entry) -> Sent:
        gateway = self._served.gateway
        assert isinstance(gateway, Sender)  # noqa: S101  # only accounts of senders are served
        message = Outbound(
            message_id=task.send.message_id,
            piece=entry.piece.index,
            account=self._served.account,
            recipient=entry.piece.recipient or "",
            parts=content,
            reply_to=task.send.reply_to,
        )
        started = time.perf_counter()
        try:
            return await self._driver.play(gateway.send(message))
        except SendError:
            raise
        except Exception as error:
            self._log.exception("gateway.error", message=task.send.message_id)
            raise Ambiguous(f"{type(error).__name__} in the gateway") from error
        finally:
            metrics.provider_seconds.labels(self._served.name).observe(time.perf_counter() - started)

    async def _again(self, task: Task, entry: Entry, error: Throttled | Unreachable) -> None:
        """Wait as long as the provider wants, else longer each time; after the last time it has failed."""
        tries = entry.record.tries
        if tries > len(RETRIES_S):
            await self._end(entry, "failed", error)
            return
        wait_s: float = RETRIES_S[tries - 1]
        if isinstance(error, Throttled):
            wait_s = wait_s if error.retry_after_s is None else error.retry_after_s
            self._pace.hold(wait_s)
        self._log.warning("message.retry", message=task.send.message_id, why=error.code, wait_s=round(wait_s, 1))
        await entry.note(state="waiting")
        left_s = (task.expires_at - now()).total_seconds()
        await asyncio.sleep(max(0.0, min(wait_s, left_s)))

    async def _unknown(self, entry: Entry, error: Ambiguous) -> None:
        await entry.settle(status="unknown", error=_reason(error))

    async def _end(self, entry: Entry, status: str, error: SendError) -> None:
        """This piece, and so all that follow, will not be sent."""
        reason, at = _reason(error), entry.record.at
        rest = [msgspec.structs.replace(piece, status=status, error=reason) for piece in entry.record.pieces[at - 1 :]]
        await entry.note(state="done", pieces=(*entry.record.pieces[: at - 1], *rest))

    async def _tell(self, task: Task, record: MessageRecord) -> None:
        """What became of it. Doing it twice, after a crash, tells nothing twice."""
        outcome = record.overall
        self._log.info("message.done", message=task.send.message_id, outcome=outcome, pieces=len(record.pieces))
        metrics.count(metrics.commands, self._served.name, outcome).inc()
        if any(piece.external_id is not None for piece in record.pieces):
            await self._reports.sent(task, record)
        unsent = next((piece for piece in record.pieces if piece.external_id is None), None)
        if unsent is not None:
            await self._reports.status(task, record, unsent)
            if unsent.error is not None and unsent.error.code == OptedOut.code:
                await self._reports.opted_out(task, record, unsent.error.provider_code)


def _reason(error: SendError) -> Error:
    code = error.provider_code if isinstance(error, Rejected) else None
    return Error(code=error.code, message=str(error), provider_code=code)
