"""`message.send` without an account: checked, a way chosen for it, handed on to the account. Sends nothing itself."""

from __future__ import annotations

import msgspec
import structlog

from sluiceway_contracts import Command, MessageSend, is_uuid
from sluiceway_contracts.values import now

from .bus.consumer import Delivery
from .checks import Refusal
from .dispatcher import NAME
from .errand import Errand, read
from .errors import Unavailable
from .forwarding import Forwarding
from .ladder import Ladder
from .ledger import Ledger
from .routing import Way, explain, first, ways
from .schedule import Schedule
from .survey import Survey

log = structlog.get_logger(__name__)


class Sends:
    """Carries out `message.send` for the dispatcher."""

    def __init__(
        self,
        prefix: str,
        survey: Survey,
        forwarding: Forwarding,
        ladder: Ladder,
        ledger: Ledger,
        schedule: Schedule,
    ) -> None:
        self._prefix = prefix
        self._survey = survey
        self._forwarding = forwarding
        self._ladder = ladder
        self._ledger = ledger
        self._schedule = schedule

    async def send(self, command: Command, delivery: Delivery) -> None:
        """Choose and hand on; what is refused is kept as such, so that it is never sent. Raises as a handler does."""
        send = command.data
        assert isinstance(send, MessageSend)  # noqa: S101  # it is registered for these alone
        try:
            await self._send(command, delivery)
        except Unavailable:
            raise
        except Refusal as refusal:
            await self._refuse(command, send, refusal)
        except Exception:
            log.exception("command.broken", account=NAME, message=send.message_id)
            await self._refuse(command, send, Refusal("internal", "the dispatcher broke over it; its log says where"))

    async def _refuse(self, command: Command, send: MessageSend, refusal: Refusal) -> None:
        """Raises the refusal."""
        if is_uuid(send.message_id) and refusal.code != "duplicate_message_id":
            nowhere = msgspec.structs.replace(command, channel=None, account=None)
            await self._ledger.refuse(command.tenant, nowhere, send, refusal)
        raise refusal

    async def _send(self, command: Command, delivery: Delivery) -> None:
        errand = read(command, delivery, self._prefix)
        if errand.send.not_before is not None and errand.send.not_before > now():
            await self._schedule.put(delivery, command, errand.send.not_before)
        elif await self._is_begun(errand):
            return
        elif errand.conversation is None:
            await self._to_address(errand)
        elif errand.send.fallback_channels:
            await self._ladder.climb(errand, await self._survey.talk(errand.tenant, errand.conversation))
        else:
            await self._to_conversation(errand, errand.conversation)

    async def _is_begun(self, errand: Errand) -> bool:
        """Whether its account has it already. Raises `Refusal` where it was refused before."""
        found = await self._ledger.get(errand.tenant, errand.send.message_id)
        if found is None or found.value.command_id != errand.command.id:
            return False
        error = found.value.pieces[0].error
        if found.value.state == "refused" and not found.value.account and error is not None:
            raise Refusal(error.code, error.message)
        return not errand.send.fallback_channels

    async def _to_conversation(self, errand: Errand, conversation: str) -> None:
        talk = await self._survey.talk(errand.tenant, conversation)
        every = ways(await self._survey.of(errand.tenant, talk), errand.is_template)
        way = first(every, errand.wish)
        if way is None:
            raise Refusal("no_channel", explain(every, errand.wish))
        await self._forwarding.put(errand.aimed(way, talk.contact), 1)

    async def _to_address(self, errand: Errand) -> None:
        """By the only account that fits: which of several a stranger is written to from is not ours to choose."""
        view = await self._survey.to(errand.tenant, errand.wish.address or "")
        fitting = [way for way in ways(view, errand.is_template) if errand.wish.fits(way)]
        match [way for way in fitting if way.is_open]:
            case []:
                raise Refusal("no_channel", explain(fitting, errand.wish))
            case [Way() as way]:
                await self._forwarding.put(errand.aimed(way, None), 1)
            case several:
                names = ", ".join(f"{way.channel} {way.account}" for way in several)
                raise Refusal("ambiguous_account", f"several accounts reach the address; name one of: {names}")
