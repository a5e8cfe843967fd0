"""Typing indicators: customers are shown that somebody is writing to them, on the account that they wrote to last.

What asks for it is live, and is done at once or never: nothing is stored, tried again or told of.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import structlog

from sluiceway_contracts import Command, Event, MessageReceived, TypingSet, Undecodable, is_uuid, subjects

from .accounts import Served
from .bus.link import Heard, Link
from .contacts import Reach
from .continuity import Talk
from .driver import Driver
from .errors import SluicewayError
from .gateway import Action, Actor, Flow
from .patience import surely
from .placement import Placement

log = structlog.get_logger(__name__)

EVERY_S = 1.0
"""A conversation's indicator is changed, or shown again, so often at most."""
WITHIN_S = 5.0
"""What could not be shown within this time is no longer true."""
AT_ONCE = 50
MAX_IN_HAND = 500
MAX_BYTES = 1 << 14
STATES = frozenset({"started", "stopped"})

Where: TypeAlias = tuple[str, str]
"""A tenant and a conversation."""


class Wish(NamedTuple):
    """What is to be shown. `channel` is the only one on which it may be; None: wherever the customer wrote last."""

    command: Command
    typing: TypingSet
    conversation: str
    channel: str | None


class Indicators:
    """Those of this process's accounts. Of replicas, which have the same accounts, one hears each wish."""

    def __init__(
        self, accounts: Iterable[Served], link: Link, prefix: str, placement: Placement, driver: Driver
    ) -> None:
        self._accounts = {(s.tenant, s.channel, s.name): s for s in accounts if _can(s)}
        self._link = link
        self._prefix = prefix
        self._placement = placement
        self._driver = driver
        self._in_hand: dict[Where, asyncio.Task[None]] = {}
        self._next: dict[Where, Wish] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Hear and show until cancelled; what is in hand then is given up."""
        ends: list[Callable[[], Awaitable[None]]] = []
        try:
            for each in self._subscriptions():
                ends.append(await surely(self._link.receive, *each))
            await asyncio.Event().wait()
        finally:
            for end in ends:  # also while NATS is away, or it would be heard for these accounts again afterwards
                await end()
            tasks = [*self._in_hand.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _subscriptions(self) -> Iterator[tuple[str, Callable[[Heard], None], str]]:
        """One a tenant; those who serve the same accounts are one queue."""
        for tenant in sorted({tenant for tenant, _, _ in self._accounts}):
            mine = sorted(served.key for served in self._accounts.values() if served.tenant == tenant)
            queue = hashlib.blake2b("\0".join(mine).encode(), digest_size=8).hexdigest()
            type = TypingSet.type.removeprefix("sluiceway.")
            yield f"{self._prefix}.{subjects.VERSION}.{tenant}.live.{type}.>", self._hear, f"typing-{queue}"

    def _hear(self, message: Heard) -> None:
        wish = self._read(message)
        if wish is None:
            log.info("typing.ignored", why="it is no typing.set of the contract, with its tenant and conversation")
            return
        where = (wish.command.tenant, wish.conversation)
        if where in self._in_hand:
            self._next[where] = wish
        elif len(self._in_hand) < MAX_IN_HAND:
            self._in_hand[where] = asyncio.create_task(self._serve(where, wish))

    def _read(self, message: Heard) -> Wish | None:
        """What a message asks for; None where it, or what its subject says, is none of the contract's."""
        try:
            said = subjects.parse_live_command(message.subject, prefix=self._prefix)
            command = Command.decode(message.data) if len(message.data) <= MAX_BYTES else None
        except (subjects.InvalidSubject, Undecodable):
            return None
        if command is None or (command.tenant, command.type) != (said.tenant, said.type):
            return None
        pairs = ((said.conversation, command.subject), (said.channel, command.channel))
        agree = all(None in pair or pair[0] == pair[1] for pair in pairs)
        typing, conversation = command.data, said.conversation
        if not isinstance(typing, TypingSet) or typing.state not in STATES or conversation is None:
            return None
        return Wish(command, typing, conversation, said.channel) if agree and is_uuid(conversation) else None

    async def _serve(self, where: Where, wish: Wish) -> None:
        """Show it, and after a while what was wished last meanwhile, unless that is shown already."""
        left: Wish | None = wish
        try:
            while left is not None:
                shown = left.typing.state if await self._show(left) else None
                if shown is not None:
                    await asyncio.sleep(EVERY_S)
                left = self._next.pop(where, None)
                if left is not None and left.typing.state == shown:
                    return
        finally:
            self._in_hand.pop(where, None)

    async def _show(self, wish: Wish) -> bool:
        """Whether it was for us to show, however that went."""
        flow = None
        try:
            async with asyncio.timeout(WITHIN_S), self._at_once:
                flow = await self._flow(wish)
                if flow is not None:
                    await self._driver.play(flow)
        except (SluicewayError, TimeoutError) as error:
            log.info("typing.not_shown", tenant=wish.command.tenant, why=str(error) or "it took too long")
        except Exception:  # one indicator's fault is no other's
            log.exception("typing.broken", tenant=wish.command.tenant)
        return flow is not None

    async def _flow(self, wish: Wish) -> Flow[None] | None:
        """What is to be played; None where it is another process's matter, or nobody's. Raises `Unavailable`."""
        tenant = wish.command.tenant
        talk = await self._placement.continuity.find(tenant, wish.conversation)
        last = await self._last(wish, talk) if talk is not None else None
        if talk is None or last is None or not isinstance(last.data, MessageReceived):
            return None
        served = self._accounts.get((tenant, last.channel or "", last.account or ""))
        if served is None or not _means(wish.command, served):
            return None
        message = last.data.message
        reach = Reach(address=message.author.address or "", channel=served.channel, account=served.name)
        if reach not in talk.reaches or not message.external_ids:
            return None
        assert isinstance(served.gateway, Actor)  # noqa: S101  # `_can` lets no other gateway's pass
        target = message.external_ids[0]
        return served.gateway.act(
            Action(account=served.account, recipient=reach.address, target=target, command=wish.typing)
        )

    async def _last(self, wish: Wish, talk: Talk) -> Event | None:
        """What the customer wrote last, in this conversation if they have written in it."""
        latest, tenant, channel = self._placement.latest, wish.command.tenant, wish.channel or "*"
        found = await latest.event(tenant, "*", channel=channel, conversation=talk.conversation)
        return found or await latest.event(tenant, talk.contact, channel=channel)


def _means(command: Command, served: Served) -> bool:
    """Whether the channel and the account that a command names, if it does, are these."""
    return command.channel in (None, served.channel) and command.account in (None, served.name)


def _can(served: Served) -> bool:
    return isinstance(served.gateway, Actor) and TypingSet in served.gateway.acts
