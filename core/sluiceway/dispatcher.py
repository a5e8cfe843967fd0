"""Commands that name no account: read, handed by type to whoever carries them out, answered for, acknowledged.

One process at a time does it (`bus.consumer`); others stand by. Knows no type of command itself: a handler does, and
what has none is refused by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import structlog

from sluiceway_contracts import Command, subjects

from . import metrics
from .bus.consumer import Consumer, Delivery
from .checks import Refusal, decode
from .errors import SluicewayError, TooLarge, Unavailable
from .failures import Failures
from .inhand import InHand
from .lanes import Lanes
from .patience import pause

log = structlog.get_logger(__name__)

DRAIN_S = 5
AT_ONCE = 200
"""More would wait for NATS in vain: each asks it several things."""
NAME = "dispatcher"
QUEUED = frozenset({"sluiceway.call", "sluiceway.agent"})

Handler = Callable[[Command, Delivery], Awaitable[None]]
"""Carries out a command. It may be called again with the same one, also after it has done its work, and then does
nothing twice. Raises `Refusal`, which is told as `command.failed`, or `Unavailable`: it is called again."""


class Job(NamedTuple):
    """A command and who carries it out."""

    command: Command
    delivery: Delivery
    handler: Handler

    @property
    def lane(self) -> tuple[str, str]:
        """Jobs of one lane are done in order: those of a conversation, else of a tenant and a family of commands.

        All that is about calls is one queue.
        """
        command = self.command
        family = command.type.rpartition(".")[0]
        if family in QUEUED:
            return command.tenant, "calls"
        named = getattr(command.data, "conversation_id", None)
        return command.tenant, command.subject or named or family


class Dispatcher:
    """The commands of all tenants that go to no account by name."""

    def __init__(self, consumer: Consumer, prefix: str, handlers: Mapping[str, Handler], failures: Failures) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._handlers = handlers
        self._failures = failures
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._in_hand = InHand(NAME, consumer)
        self._lanes: Lanes[Job] = Lanes(self._carry_out)

    async def run(self) -> None:
        """Serve until cancelled; then what is in flight is finished and the place given up."""
        self._in_hand.watch()
        metrics.dispatcher.labels("active").set_function(lambda: self._consumer.pinned)
        metrics.dispatcher.labels("standby").set_function(lambda: not self._consumer.pinned)
        try:
            async for delivery in self._consumer.deliveries():
                await self._take(delivery)
        finally:
            await self._lanes.drain(DRAIN_S)
            self._in_hand.forget()
            metrics.dispatcher.clear()
            try:
                await self._consumer.release()
            except SluicewayError as error:
                log.info("dispatcher.not_released", why=str(error))

    async def _take(self, delivery: Delivery) -> None:
        try:
            command = decode(delivery, subjects.parse_command(delivery.subject, prefix=self._prefix))
            handler = self._handlers.get(command.type)
            if handler is None:
                what = f"{command.type} needs an account: name channel and account in the subject"
                raise Refusal("unsupported", what, command.id, command.type)
        except subjects.InvalidSubject:
            log.warning("command.ignored", account=NAME, why="its subject is none of the contract's")
            await delivery.ack()
        except Refusal as refusal:
            await self._refuse(delivery, refusal)
        else:
            self._line_up(Job(command, delivery, handler))

    def _line_up(self, job: Job) -> None:
        """Into its lane, unless it is there already: what is not acknowledged for long comes again."""
        if self._in_hand.begins(job.delivery):
            self._lanes.clear()  # all of it comes again under the new epoch
        if self._in_hand.add(job.delivery.sequence, job.delivery):
            self._lanes.put(job.lane, job)

    async def _carry_out(self, job: Job) -> None:
        command, delivery = job.command, job.delivery
        while delivery.epoch == self._consumer.epoch:  # else another process dispatches, or it comes again
            try:
                async with self._at_once:
                    await job.handler(command, delivery)
            except Unavailable as error:
                await pause(error)
                continue
            except Refusal as refusal:
                refusal.command_id, refusal.command_type = command.id, command.type
                await self._refuse(delivery, refusal)
            except Exception:  # a fault of ours ends this command, and no other
                log.exception("command.broken", account=NAME, command=command.id)
                broken = "the dispatcher broke over it; its log says where"
                await self._refuse(delivery, Refusal("internal", broken, command.id, command.type))
            else:
                metrics.count(metrics.commands, NAME, "done").inc()
                await delivery.ack()
            self._in_hand.done(delivery.sequence, delivery)
            return

    async def _refuse(self, delivery: Delivery, refusal: Refusal) -> None:
        metrics.count(metrics.commands, NAME, refusal.code).inc()
        try:
            await self._failures.tell(delivery, refusal)
        except TooLarge as error:
            log.error("command.untold", account=NAME, code=refusal.code, why=str(error))
        await delivery.ack()
