"""Commands that no gateway serves, failed by name, so that nobody waits for an answer that never comes."""

from __future__ import annotations

import contextlib
import time

import structlog

from sluiceway_contracts import Command, MessageSend, Undecodable, is_uuid, subjects

from .accounts import Notice
from .bus.consumer import Consumer, Delivery
from .bus.store import Bucket
from .checks import Refusal
from .errors import SluicewayError
from .failures import Failures
from .ledger import Ledger
from .patience import surely

log = structlog.get_logger(__name__)

REMEMBERED_S = 60.0
"""For how long an account is taken to be served without another look at the register."""


class Unserved:
    """Reads every command; leaves those alone whose account is known, by the register, as one that sends or calls."""

    def __init__(
        self, consumer: Consumer, prefix: str, register: Bucket[Notice], ledger: Ledger, failures: Failures
    ) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._register = register
        self._ledger = ledger
        self._failures = failures
        self._seen: dict[str, float] = {}

    async def run(self) -> None:
        """Watch until cancelled; then another process may."""
        try:
            async for delivery in self._consumer.deliveries():
                await self._take(delivery)
        finally:
            with contextlib.suppress(SluicewayError):
                await self._consumer.release()

    async def _take(self, delivery: Delivery) -> None:
        try:
            await self._judge(delivery)
        except subjects.InvalidSubject:
            pass  # nobody's token: there is no tenant's subject to tell it on
        except Exception:  # one command's fault is no other's
            log.exception("unserved.broken")
        await delivery.ack()

    async def _judge(self, delivery: Delivery) -> None:
        subject = subjects.parse_command(delivery.subject, prefix=self._prefix)
        refusal = await surely(self._refusal, subject)
        if refusal is None:
            return
        try:
            command = Command.decode(delivery.data)
        except Undecodable as error:
            refusal.command_id, refusal.command_type = error.id, error.type
        else:
            refusal.command_id, refusal.command_type = command.id, command.type
            send = command.data
            if isinstance(send, MessageSend) and is_uuid(send.message_id):
                # lest a gateway that starts later sends what was told as failed
                refused = await surely(self._ledger.refuse, subject.tenant, command, send, refusal)
                if refused is None:
                    return
                if send.attempt is not None:
                    await self._failures.tell_attempt(subject.tenant, send.message_id, refused)
                    return
        await self._failures.tell(delivery, refusal)

    async def _refusal(self, subject: subjects.CommandSubject) -> Refusal | None:
        """Why nobody carries it out; None where somebody does."""
        if subject.account == subjects.ANY:  # the dispatcher's
            return None
        if subject.channel == subjects.ANY:
            return Refusal("unknown_account", f"name the channel of the account {subject.account} in the subject, too")
        key = f"{subject.tenant}.{subject.channel}.{subject.account}"
        if time.monotonic() - self._seen.get(key, float("-inf")) < REMEMBERED_S:
            return None
        notice = await self._register.get(key)
        if notice is None:
            return Refusal("unknown_account", f"no gateway serves the {subject.channel} account {subject.account}")
        if not (notice.value.sends or notice.value.calls):
            return Refusal("unsupported", f"the account {subject.account} only receives; its gateway can't send")
        self._seen[key] = time.monotonic()
        return None
