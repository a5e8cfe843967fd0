"""One message on its way to the provider, piece by piece: tried until answered, never twice where nobody knows.

Intent is in the ledger before the provider is asked, what it answered before the next piece. An intent that a crash
left open ends as `unknown`, and the pieces after it still go out: most likely it arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time

import msgspec
import structlog

from sluiceway_contracts import TERMINAL, EmailThread, Error, Piece
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Served
from .attachments import Attachments, Ready
from .checks import Aim, Refusal, Task
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
from .gateway import Deliverer, Letter, Outbound, Sender, Sent
from .health import Health
from .ledger import Ledger, MessageRecord
from .loops import AUTOMATIC
from .media import GONE
from .owned import Lost, Owned
from .pace import Pace
from .parking import Parking
from .patience import surely
from .placement import Placement
from .render import Content
from .reports import Reports

log = structlog.get_logger(__name__)

RETRIES_S = (1, 5, 30, 120, 600, 1800)
SHORTEST_S = 0.2
"""However soon a provider wants to be asked again, and be it a date in the past."""
ANSWERED_BY = datetime.timedelta(seconds=25)
"""A request that is older has its answer, or never will: longer than the client waits for one."""
CUT_OFF_S = 1.0
AT_ONCE = 100
FAILED = "failed"
"""What a message is whose tries are used up: the provider never said no, and never took it."""


class Unready(SendError):
    """What is to be sent can't be put together here; the provider was not asked, and says nothing by it."""

    code = "rejected"


class Sending:
    """Sends the messages of one account, at most `AT_ONCE` at a time, at its pace."""

    def __init__(
        self,
        served: Served,
        ledger: Ledger,
        reports: Reports,
        parking: Parking,
        *,
        driver: Driver,
        health: Health,
        attachments: Attachments,
        placement: Placement,
    ) -> None:
        self._served = served
        self._ledger = ledger
        self._reports = reports
        self._parking = parking
        self.asking: set[object] = set()
        self._driver = driver
        self._health = health
        self._attachments = attachments
        self._placement = placement
        capabilities = served.gateway.capabilities
        self._pace = Pace(capabilities.rate, capabilities.recipient_rate)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._log = log.bind(account=served.name)

    async def known(self, task: Task) -> Owned | None:
        """What the ledger has of the message; None where it was never begun. Raises `Refusal` where it was refused."""
        entry = await Owned.find(self._ledger, self._served.tenant, task.send.message_id, task.attempt)
        if entry is None:
            return None
        if entry.record.command_id != task.command.id:
            raise Refusal("duplicate_message_id", f"the command {entry.record.command_id} has this message_id already")
        if entry.record.state == "refused":
            error = entry.piece.error
            raise Refusal(error.code, error.message) if error else Refusal("refused", "it was refused before")
        if (entry.record.channel, entry.record.account) != (self._served.channel, self._served.name):
            raise Refusal("duplicate_message_id", f"the account {entry.record.account} has this message already")
        return entry

    async def refuse(self, task: Task, refusal: Refusal) -> MessageRecord | None:
        """Remember that it was refused: what is told as failed is never sent. What was begun stays as it is: None."""
        return await surely(self._ledger.refuse, self._served.tenant, task.command, task.send, refusal)

    async def send(self, task: Task, aim: Aim, contents: tuple[Content, ...]) -> None:
        """Send it. Returns when the ledger and the stream know the end.

        Raises `Begun` where it was begun before, `Lost` where another process has the message now.
        """
        record = self._draft(task, aim, len(contents))
        await self._finish(task, contents, Owned(self._ledger, self._served.tenant, task.send.message_id, record, 0))

    async def resume(self, task: Task, contents: tuple[Content, ...], entry: Owned) -> None:
        """Go on where an earlier process ended (`entry`, from `known`), as `send` does."""
        if len(contents) != len(entry.record.pieces):
            await self.give_up(task, entry, Rejected("it comes to other pieces now than when it was begun"))
            return
        await self._settle_intent(entry)
        await self._finish(task, contents, entry)

    async def give_up(self, task: Task, entry: Owned, error: Refusal | Rejected) -> None:
        """End what an earlier process began, and can't be finished; what was sent stays told as sent."""
        await self._settle_intent(entry)
        if entry.record.state != "done":
            code = error.provider_code if isinstance(error, Rejected) else error.code
            await self._end(entry, "rejected", Rejected(str(error), code))
        await self._tell(task, entry.record)

    async def _settle_intent(self, entry: Owned) -> None:
        """Nobody knows what became of a request that an earlier process made."""
        if entry.record.state == "intent":
            await entry.wait_out(ANSWERED_BY)
            if entry.record.state == "intent":
                await self._unknown(entry, Ambiguous("the process ended while the provider was asked"))

    async def _finish(self, task: Task, contents: tuple[Content, ...], entry: Owned) -> None:
        task = await self._answering(task)
        letter = await self._letter(task, entry.record) if self._served.gateway.capabilities.letters else None
        while entry.record.state != "done":
            await self._piece(task, contents[entry.record.at - 1], entry, letter)
        await self._tell(task, entry.record)

    async def _answering(self, task: Task) -> Task:
        """With the provider's id of the message that it answers, where that is one of ours."""
        ref = task.send.reply_to
        if ref is None or ref.id is None or ref.external_id is not None:
            return task
        known = await surely(self._ledger.get, self._served.tenant, ref.id)
        if known is None:
            return task
        external_id = next((piece.external_id for piece in known.value.pieces if piece.external_id), None)
        ref = msgspec.structs.replace(ref, external_id=external_id)
        return msgspec.structs.replace(task, send=msgspec.structs.replace(task.send, reply_to=ref))

    async def _letter(self, task: Task, record: MessageRecord) -> Letter:
        """What it answers, and where answers to it go."""
        served, send = self._served, task.send
        ahead = self._placement.threads.ahead
        thread, subject = await surely(ahead, served, record.contact, record.conversation, send.subject)
        if send.reply_to is not None and send.reply_to.external_id is not None:
            nearest = send.reply_to.external_id
            chain = tuple(dict.fromkeys((*thread.references, nearest)))
            thread = EmailThread(in_reply_to=(nearest,), references=chain)
        return Letter(
            reply_token=self._placement.reply_token(served.tenant, record.conversation, task.command.time),
            written_at=task.command.time,
            subject=subject,
            thread=thread,
            automatic=send.author.role in AUTOMATIC,
        )

    def _draft(self, task: Task, aim: Aim, count: int) -> MessageRecord:
        """The record as it is before anything is written."""
        return MessageRecord(
            state="new",
            tries=0,
            command_id=task.command.id,
            channel=self._served.channel,
            account=self._served.name,
            contact=aim.contact,
            conversation=aim.conversation,
            attempt=task.attempt,
            pieces=tuple(
                Piece(index=index, of=count, status="accepted", recipient=aim.address) for index in range(1, count + 1)
            ),
        )

    async def _piece(self, task: Task, content: Content, entry: Owned, letter: Letter | None) -> None:
        """One try of the piece that is next; returns when the ledger knows what came of it."""
        left_s = (task.expires_at - now()).total_seconds()
        try:
            if left_s <= 0:
                raise TimeoutError
            async with asyncio.timeout(left_s) as until:
                await self._pace.wait(entry.piece.recipient or "")
                async with self._at_once, self._health.turn():
                    if self._pace.held:  # since a moment: another lane was told to wait
                        return
                    ready = await self._ready(content, entry)
                    self._asks()
                    until.reschedule(None)  # what is begun is not cut off: nobody would know what became of it
                    await entry.intend(state="intent", tries=entry.record.tries + 1)
                    if self._pace.held:
                        await entry.intend(state="waiting", tries=entry.record.tries - 1)
                        return
                    sent = await self._ask_provider(task, ready, entry, letter)
        except TimeoutError:
            await self._end(entry, "expired", SendError("it could not be sent in time"))
        except SendError as error:
            await self._failed(task, content, entry, error)
        except asyncio.CancelledError:
            await self._cut_off(entry)
            raise
        else:
            segments = sum(filter(None, (entry.record.segments, sent.segments))) or None
            entry.record = msgspec.structs.replace(entry.record, segments=segments, price=sent.price)
            await entry.settle([msgspec.structs.replace(entry.piece, external_id=sent.external_id)])
        finally:
            self.asking.discard(asyncio.current_task())

    def _asks(self) -> None:
        """From now on whoever ends this task makes it unknown what became of the piece."""
        self.asking.add(asyncio.current_task())

    async def _failed(self, task: Task, content: Content, entry: Owned, error: SendError) -> None:
        match error:
            case CredentialsRefused():
                await entry.intend(state="waiting", tries=entry.record.tries - 1)
                self._log.warning("message.waits", message=task.send.message_id, why=error.code)
            case Throttled() | Unreachable():
                await self._again(task, entry, error)
            case Ambiguous() if self._served.gateway.capabilities.idempotent:
                await self._again(task, entry, Unreachable(str(error)))
            case Ambiguous():
                await self._unknown(entry, error)
            case _:
                if isinstance(error, Rejected):
                    self._attachments.forget(content)
                await self._end(entry, "rejected", error)

    async def _ready(self, content: Content, entry: Owned) -> Ready:
        """The piece with its files where the provider wants them. A failure counts as a try."""
        try:
            return await self._attachments.ready(content)
        except Rejected as error:
            entry.record = msgspec.structs.replace(entry.record, tries=entry.record.tries + 1)
            if error.provider_code == GONE:
                raise Unready(str(error)) from error
            raise
        except SendError:
            entry.record = msgspec.structs.replace(entry.record, tries=entry.record.tries + 1)
            raise
        except Exception as error:
            self._log.exception("gateway.error")
            raise Unready(f"{type(error).__name__} in the gateway") from error

    async def _ask_provider(self, task: Task, ready: Ready, entry: Owned, letter: Letter | None) -> Sent:
        gateway = self._served.gateway
        assert isinstance(gateway, Sender | Deliverer)  # noqa: S101  # only accounts of these two are served
        message = Outbound(
            message_id=task.send.message_id,
            piece=entry.piece.index,
            account=self._served.account,
            recipient=entry.piece.recipient or "",
            parts=ready.parts,
            reply_to=task.send.reply_to,
            media=ready.ids,
            letter=letter,
        )
        started, outcome = time.perf_counter(), "error"
        try:
            if isinstance(gateway, Deliverer):
                sent = await gateway.deliver(message, self._attachments.files)
            else:
                sent = await self._driver.play(gateway.send(message))
            outcome = "sent"
        except SendError as error:
            outcome = error.code
            raise
        except Exception as error:
            self._log.exception("gateway.error", message=task.send.message_id)
            raise Ambiguous(f"{type(error).__name__} in the gateway") from error
        finally:
            metrics.timed(metrics.provider_seconds, self._served.name).observe(time.perf_counter() - started)
            metrics.count(metrics.sends, self._served.name, outcome).inc()
        return sent

    async def _again(self, task: Task, entry: Owned, error: Throttled | Unreachable) -> None:
        """Wait as long as the provider wants, else longer each time; after the last time it has failed."""
        entry.record = entry.record.after(error.code)
        tries = entry.record.tries
        if tries > len(RETRIES_S):
            await self._end(entry, FAILED, error)
            return
        wait_s: float = RETRIES_S[tries - 1]
        if error.retry_after_s is not None:  # it says when, so that this is no try of ours
            wait_s, tries = max(error.retry_after_s, SHORTEST_S), tries - 1
        if isinstance(error, Throttled):
            self._pace.hold(wait_s)
        self._log.warning("message.retry", message=task.send.message_id, why=error.code, wait_s=round(wait_s, 1))
        await entry.intend(state="waiting", tries=tries)
        left_s = (task.expires_at - now()).total_seconds()
        await asyncio.sleep(max(0.0, min(wait_s, left_s)))

    async def _cut_off(self, entry: Owned) -> None:
        """This process must stop, whatever the provider is about to say: tell the next one that it need not wait."""
        if entry.record.state != "intent":
            return
        with contextlib.suppress(TimeoutError, Lost):
            async with asyncio.timeout(CUT_OFF_S):
                await self._unknown(entry, Ambiguous("the process was stopped while the provider was asked"))

    async def _unknown(self, entry: Owned, error: Ambiguous) -> None:
        if self._served.gateway.capabilities.idempotent:  # whoever gets it twice has it once
            await entry.intend(state="waiting")
            return
        await entry.settle([msgspec.structs.replace(entry.piece, status="unknown", error=_reason(error))])

    async def _end(self, entry: Owned, status: str, error: SendError) -> None:
        """This piece, and so all that follow, will not be sent."""
        rest = entry.record.pieces[entry.record.at - 1 :]
        await entry.settle([msgspec.structs.replace(piece, status=status, error=_reason(error)) for piece in rest])

    async def _tell(self, task: Task, record: MessageRecord) -> None:
        """What became of it. Doing it twice, after a crash, tells nothing twice."""
        outcome = record.overall
        tell = self._log.info if outcome in TERMINAL or outcome == "unknown" else self._log.debug
        tell("message.done", message=task.send.message_id, outcome=outcome, pieces=len(record.pieces))
        metrics.count(metrics.commands, self._served.name, outcome).inc()
        if any(piece.external_id is not None for piece in record.pieces):
            await self._reports.sent(task, record)
        unsent = next((piece for piece in record.pieces if piece.external_id is None), None)
        if unsent is not None:
            await self._reports.status(task, record, unsent)
            if unsent.status == FAILED:
                await surely(self._parking.bury, task, record, unsent)
            if unsent.error is not None and unsent.error.code == OptedOut.code:
                await self._reports.opted_out(task, record, unsent.error.provider_code)


def _reason(error: SendError) -> Error:
    code = error.provider_code if isinstance(error, Rejected) else None
    return Error(code=error.code, message=str(error), provider_code=code)
