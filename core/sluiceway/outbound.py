"""Commands of one account, in order: read, checked, aimed at an address, rendered, handed to `Sending`.

One process at a time serves an account (`bus.consumer`); commands of one conversation go out one after the other,
different conversations do not wait for each other. What is refused is told as `command.failed` and never retried.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from sluiceway_contracts import MessageReceived, now, subjects

from . import metrics
from .accounts import Served
from .acts import Acts
from .attachments import Attachments
from .bus.consumer import Consumer, Delivery
from .calls.placing import Placing
from .caps import Caps
from .checks import ActTask, Aim, AnyTask, CallTask, Refusal, Task, is_template, read
from .contacts import Reach
from .continuity import Continuity, Talk
from .errors import SluicewayError, TooLarge
from .failures import Failures
from .inhand import InHand
from .lanes import Lanes
from .latest import Latest
from .loops import Loops
from .owned import Begun, Lost
from .patience import surely
from .render import Content, Unsendable, render
from .schedule import Schedule
from .sending import Sending

log = structlog.get_logger(__name__)

DRAIN_S = 5
LOST_S = 0.5


class AccountSender:
    """The way out of one account."""

    def __init__(
        self,
        served: Served,
        consumer: Consumer,
        prefix: str,
        *,
        continuity: Continuity,
        sending: Sending,
        failures: Failures,
        schedule: Schedule,
        latest: Latest,
        caps: Caps,
        acts: Acts,
        attachments: Attachments,
        loops: Loops,
        placing: Placing,
    ) -> None:
        self._served = served
        self._consumer = consumer
        self._prefix = prefix
        self._continuity = continuity
        self._sending = sending
        self._failures = failures
        self._schedule = schedule
        self._latest = latest
        self._caps = caps
        self.patience_s = 0.0
        self._removed = False
        self._in_hand = InHand(served.name, consumer)
        self._acts = acts
        self._attachments = attachments
        self._loops = loops
        self._placing = placing
        self._lanes: Lanes[AnyTask] = Lanes(self._carry_out)

    async def run(self) -> None:
        """Serve until cancelled; then what is in flight is finished and the account given up.

        `patience_s` is how much longer a provider that was asked may take to answer.
        """
        if not self._removed:
            self._in_hand.watch()
        try:
            async for delivery in self._consumer.deliveries():
                await self._take(delivery)
        finally:
            await self._lanes.drain(DRAIN_S, self._sending.asking, self.patience_s)
            if not self._removed:
                self._in_hand.forget()
            try:
                await self._consumer.release()
            except SluicewayError as error:
                log.info("account.not_released", account=self._served.name, why=str(error))

    async def refuse_all(self) -> None:
        """Until cancelled, refuse every command: the account was removed, and nobody serves it."""
        self._removed = True
        await self.run()

    async def _take(self, delivery: Delivery) -> None:
        try:
            task = read(delivery, subjects.parse_command(delivery.subject, prefix=self._prefix), self._served)
        except subjects.InvalidSubject:
            log.warning("command.ignored", account=self._served.name, why="its subject is none of the contract's")
            await delivery.ack()
        except Refusal as refusal:
            await self._refuse(delivery, refusal)
        else:
            self._line_up(task)

    def _line_up(self, task: AnyTask) -> None:
        """Into its lane, unless it is there already: what is not acknowledged for long comes again."""
        if self._in_hand.begins(task.delivery):
            self._lanes.clear()  # all of it comes again under the new epoch
        if self._in_hand.add(task.command.id, task.delivery):
            self._lanes.put(task.lane, task)

    async def _carry_out(self, task: AnyTask) -> None:
        again = task.delivery.again
        while task.delivery.epoch == self._consumer.epoch:  # else another process has the account, or it comes again
            try:
                await self._do(task, again)
            except Begun:
                again = True
                continue
            except Lost:
                log.info("message.lost", account=self._served.name, command=task.command.id)
                await asyncio.sleep(LOST_S)  # somebody is still at it: see what comes of it
                again = True
                continue
            except (Refusal, Unsendable) as error:
                await self._refuse_task(task, error.code, str(error))
            except Exception:  # a fault of ours ends this command, and no other
                log.exception("command.broken", account=self._served.name, command=task.command.id)
                broken = "the gateway broke over it; its log says where, and the message's status whether it was sent"
                await self._refuse_task(task, "internal", broken)
            else:
                await task.delivery.ack()
            self._in_hand.done(task.command.id, task.delivery)
            return

    async def _do(self, task: AnyTask, again: bool) -> None:
        """`again`: it may have been begun. What was begun is finished, whatever the customer has written since."""
        if self._removed:
            await self._part(task)
            return
        if isinstance(task, ActTask):
            await self._acts.run(task)
            metrics.count(metrics.commands, self._served.name, "done").inc()
            return
        if isinstance(task, CallTask):
            await self._placing.run(task.command)
            metrics.count(metrics.commands, self._served.name, "done").inc()
            return
        if task.is_early:
            await surely(self._schedule.put, task.delivery, task.command, task.send.not_before or now())
            return
        entry = await self._sending.known(task) if again else None
        try:
            task, contents = await self._contents(task)
        except (Refusal, Unsendable) as error:
            if entry is None:
                raise
            await self._sending.give_up(task, entry, error)
            return
        if entry is not None:
            await self._sending.resume(task, contents, entry)
            return
        try:
            aim = await self._judge(task)
        except Refusal:
            if not again and await self._sending.known(task) is not None:
                raise Begun from None
            raise
        await self._sending.send(task, aim, contents)

    async def _part(self, task: AnyTask) -> None:
        """Raises `Refusal` where nothing was sent of it; the rest of what was begun is given up."""
        refusal = Refusal("unknown_account", "its account was removed before it was carried out")
        entry = await self._sending.known(task) if isinstance(task, Task) else None
        if entry is None or not isinstance(task, Task):
            raise refusal
        await self._sending.give_up(task, entry, refusal)

    async def _contents(self, task: Task) -> tuple[Task, tuple[Content, ...]]:
        """The task with its files as they are stored, and its pieces. Raises `Refusal` or `Unsendable`."""
        parts = await self._attachments.described(task.send.parts)
        if parts is not task.send.parts:
            task = msgspec.structs.replace(task, send=msgspec.structs.replace(task.send, parts=parts))
        return task, render(parts, self._served.gateway.capabilities)

    async def _judge(self, task: Task) -> Aim:
        """Whom it goes to, if it may. Raises `Refusal`."""
        if task.conversation is None:  # before a conversation is opened for it
            await surely(self._caps.admit, task.send.message_id, task.recipient or "", task.attempt)
        aim = await surely(self._aim, task)
        if task.conversation is not None:
            await surely(self._caps.admit, task.send.message_id, aim.address, task.attempt)
        await surely(self._refuse_stale, task, aim)
        await surely(self._refuse_late, task, aim)
        await surely(self._loops.admit, task.send, aim.contact, aim.address)
        return aim

    async def _refuse_task(self, task: AnyTask, code: str, why: str) -> None:
        refusal = Refusal(code, why, task.command.id, task.command.type)
        refused = await self._sending.refuse(task, refusal) if isinstance(task, Task) else None
        if refused is not None and isinstance(task, Task) and task.send.attempt is not None:
            await self._failures.tell_attempt(self._served.tenant, task.send.message_id, refused)
            await task.delivery.ack()
        else:
            await self._refuse(task.delivery, refusal)

    async def _refuse(self, delivery: Delivery, refusal: Refusal) -> None:
        metrics.count(metrics.commands, self._served.name, refusal.code).inc()
        try:
            await self._failures.tell(delivery, refusal)
        except TooLarge as error:
            log.error("command.untold", account=self._served.name, code=refusal.code, why=str(error))
        await delivery.ack()

    async def _refuse_stale(self, task: Task, aim: Aim) -> None:
        """Raises `Refusal` where the customer, on whatever channel, has written since the message it answers."""
        wanted = task.send.if_last_inbound
        if wanted is not None and await self._latest.inbound(self._served.tenant, aim.contact) != wanted:
            raise Refusal("answered_past", "the customer has written since; read that before you answer")

    async def _refuse_late(self, task: Task, aim: Aim) -> None:
        """Raises `Refusal` where the provider would, as the time for free answers is known to be over."""
        served = self._served
        if not served.gateway.capabilities.reply_window or is_template(task.send.parts):
            return
        last = await self._latest.event(served.tenant, aim.contact, channel=served.channel)
        if last is None or last.account != served.name or not isinstance(last.data, MessageReceived):
            return
        ends = last.data.message.reply_window_ends
        if last.data.message.author.address == aim.address and ends is not None and ends <= now():
            why = f"the reply window ended at {ends:%Y-%m-%d %H:%M} UTC"
            raise Refusal("window_closed", f"{why}; send a template, or name fallback_channels")

    async def _aim(self, task: Task) -> Aim:
        """Raises `Refusal` for a conversation that is not there, not on this account, or not with this address."""
        served = self._served
        if task.conversation is None:
            if await self._continuity.was_erased(served.tenant, task.recipient or "", task.command.time):
                raise Refusal("erased", "whoever had the address was erased since the command was given")
            reach = Reach(address=task.recipient or "", channel=served.channel, account=served.name)
            place = await self._continuity.resolve(served.tenant, reach, "outbound")
            return Aim(place.contact, place.conversation, reach.address)
        talk = await self._continuity.find(served.tenant, task.conversation)
        if talk is None:
            raise Refusal("unknown_conversation", "there is no such conversation; its id is an event's subject")
        address = self._address(talk, task)
        if address in talk.asserted and not await self._continuity.invite(served.tenant, talk.contact, address):
            what = "the address was given in a form and is another contact's: decide whether the two are one"
            raise Refusal("address_taken", f"{what} (contact.link or contact.merge)")
        reach = Reach(address=address, channel=served.channel, account=served.name)
        place = await self._continuity.speak(served.tenant, talk.contact, reach, "outbound")
        return Aim(place.contact, place.conversation, address)

    def _address(self, talk: Talk, task: Task) -> str:
        where, schemes = (self._served.channel, self._served.name), self._served.gateway.schemes
        here = [reach.address for reach in talk.reaches if (reach.channel, reach.account) == where]
        here = [address for address in talk.asserted if address.partition(":")[0] in schemes] + here
        if not here:
            raise Refusal("wrong_account", "the conversation's contact is not reached from this account")
        if task.recipient is not None and task.recipient not in here:
            raise Refusal("wrong_address", "the address is not one of the conversation's contact")
        return task.recipient or here[-1]
