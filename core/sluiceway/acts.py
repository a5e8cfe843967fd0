"""What an application does to a message that is there: reacts to it, marks it as seen. Told on the stream, not kept.

Done twice it is the same as done once, so that nothing need be remembered: after a crash it is done again.
"""

from __future__ import annotations

import asyncio

from sluiceway_contracts import Event, MessageReact, MessageReaction, MessageRef, Party

from .accounts import Served
from .checks import ActTask, Refusal
from .continuity import Continuity
from .driver import Driver
from .errors import Rejected, SendError
from .gateway import Action, Actor
from .identity import Identity
from .ledger import Ledger
from .patience import surely
from .stream import EventStream
from .targets import Targets

RETRIES_S = (1.0, 5.0)
"""Few and short: the conversation's next commands wait behind it."""


class Acts:
    """Those of one account."""

    def __init__(
        self,
        served: Served,
        continuity: Continuity,
        identity: Identity,
        ledger: Ledger,
        stream: EventStream,
        driver: Driver,
    ) -> None:
        self._served = served
        self._continuity = continuity
        self._identity = identity
        self._targets = Targets(identity, ledger)
        self._stream = stream
        self._driver = driver

    async def run(self, task: ActTask) -> None:
        """Carry it out and tell. Raises `Refusal` where it can't be."""
        served = self._served
        talk = await surely(self._continuity.find, served.tenant, task.conversation)
        if talk is None:
            raise Refusal("unknown_conversation", "there is no such conversation; its id is an event's subject")
        where = (served.channel, served.name)
        here = [reach.address for reach in talk.reaches if (reach.channel, reach.account) == where]
        if not here:
            raise Refusal("wrong_account", "the conversation's contact is not reached from this account")
        target = await surely(self._targets.known, served, task.act.target)
        if target.external_id is None:
            raise Refusal("unknown_message", "give target.external_id, one of the message's external_ids")
        await self._ask_provider(
            Action(account=served.account, recipient=here[-1], target=target.external_id, command=task.act)
        )
        if isinstance(task.act, MessageReact):
            await self._tell(task, task.act, target, talk.contact, talk.conversation)

    async def _ask_provider(self, action: Action) -> None:
        gateway = self._served.gateway
        assert isinstance(gateway, Actor)  # noqa: S101  # `checks` lets no other gateway's pass
        for wait_s in (*RETRIES_S, None):
            try:
                await self._driver.play(gateway.act(action))
            except Rejected as error:
                raise Refusal(error.code, str(error)) from error
            except SendError as error:
                if wait_s is None:
                    raise Refusal(error.code, str(error)) from error
                await asyncio.sleep(wait_s)
            else:
                return

    async def _tell(
        self, task: ActTask, act: MessageReact, target: MessageRef, contact: str, conversation: str
    ) -> None:
        served = self._served
        data = MessageReaction(
            target=target,
            by=Party(role="agent"),
            action="removed" if act.action == "remove" else "added",
            emoji=act.emoji,
        )
        event = Event(
            id=self._identity.id(served.tenant, data.type, served.name, task.command.id),
            tenant=served.tenant,
            channel=served.channel,
            account=served.name,
            contactid=contact,
            subject=conversation,
            causationid=task.command.id,
            actorrole="agent",
            data=data,
        )
        await surely(self._stream.publish, event)
