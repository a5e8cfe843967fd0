"""Commands of one account, in order: read, checked, aimed at an address, rendered, handed to `Sending`.

One process at a time serves an account (`bus.consumer`); commands of one conversation go out one after the other,
different conversations do not wait for each other. What is refused is told as `command.failed` and never retried.
"""

from __future__ import annotations

import structlog

from sluiceway_contracts import now, subjects

from . import metrics
from .accounts import Served
from .bus.consumer import Consumer, Delivery
from .caps import Caps
from .checks import Aim, Refusal, Task, read
from .continuity import Continuity, Reach
from .errors import SluicewayError
from .failures import Failures
from .lanes import Lanes
from .latest import Latest
from .owned import Lost
from .patience import surely
from .render import Unsendable, render
from .schedule import Schedule
from .sending import Sending

log = structlog.get_logger(__name__)

DRAIN_S = 5


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
        self._lanes: Lanes[Task] = Lanes(self._carry_out)

    async def run(self) -> None:
        """Serve until cancelled; then what is in flight is finished and the account given up."""
        try:
            async for delivery in self._consumer.deliveries():
                await self._take(delivery)
        finally:
            await self._lanes.drain(DRAIN_S)
            try:
                await self._consumer.release()
            except SluicewayError as error:
                log.info("account.not_released", account=self._served.name, why=str(error))

    async def _take(self, delivery: Delivery) -> None:
        try:
            task = read(delivery, subjects.parse_command(delivery.subject, prefix=self._prefix), self._served)
        except subjects.InvalidSubject:
            log.warning("command.ignored", account=self._served.name, why="its subject is none of the contract's")
            await delivery.ack()
        except Refusal as refusal:
            await self._refuse(delivery, refusal)
        else:
            self._lanes.put(task.lane, task)

    async def _carry_out(self, task: Task) -> None:
        if task.delivery.epoch != self._consumer.epoch:
            return  # the account went to another process, or the command comes again
        try:
            await self._do(task)
        except Lost:
            log.info("message.lost", account=self._served.name, message=task.send.message_id)
            return  # whoever has it acknowledges it
        except (Refusal, Unsendable) as error:
            await self._refuse(task.delivery, Refusal(error.code, str(error), task.command.id, task.command.type))
        except Exception:  # a fault of ours ends this command, and no other
            log.exception("command.broken", account=self._served.name, message=task.send.message_id)
            broken = "the gateway broke over it; its log says where, and the message's status whether it was sent"
            await self._refuse(task.delivery, Refusal("internal", broken, task.command.id, task.command.type))
        else:
            await task.delivery.ack()

    async def _do(self, task: Task) -> None:
        if task.is_early:
            await surely(self._schedule.put, task, task.send.not_before or now())
            return
        aim = await surely(self._aim, task)
        await surely(self._refuse_stale, task, aim)
        contents = render(task.send.parts, self._served.gateway.capabilities)
        await self._sending.send(task, aim, contents)

    async def _refuse(self, delivery: Delivery, refusal: Refusal) -> None:
        metrics.count(metrics.commands, self._served.name, refusal.code).inc()
        await self._failures.tell(delivery, refusal)
        await delivery.ack()

    async def _refuse_stale(self, task: Task, aim: Aim) -> None:
        """Raises `Refusal` where the customer, on whatever channel, has written since the message it answers."""
        wanted = task.send.if_last_inbound
        if wanted is not None and await self._latest.inbound(self._served.tenant, aim.contact) != wanted:
            raise Refusal("answered_past", "the customer has written since; read that before you answer")

    async def _aim(self, task: Task) -> Aim:
        """Raises `Refusal` for a conversation that is not there, not on this account, or not with this address."""
        served = self._served
        if task.conversation is None:
            await self._caps.admit(task.send.message_id, task.recipient or "")
            reach = Reach(address=task.recipient or "", channel=served.channel, account=served.name)
            place = await self._continuity.resolve(served.tenant, reach, "outbound")
            return Aim(place.contact, place.conversation, reach.address)
        found = await self._continuity.find(served.tenant, task.conversation)
        if found is None:
            raise Refusal("unknown_conversation", "there is no such conversation; its id is an event's subject")
        contact, reaches = found
        here = [r.address for r in reaches if (r.channel, r.account) == (served.channel, served.name)]
        if not here:
            raise Refusal("wrong_account", "the conversation's contact is not reached from this account")
        if task.recipient is not None and task.recipient not in here:
            raise Refusal("wrong_address", "the address is not one of the conversation's contact")
        address = task.recipient or here[-1]
        await self._caps.admit(task.send.message_id, address)
        return Aim(contact, task.conversation, address)
