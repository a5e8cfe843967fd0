"""Commands that no gateway serves, failed by name, so that nobody waits for an answer that never comes."""

from __future__ import annotations

from sluiceway_contracts import Command, Undecodable, subjects

from .accounts import Notice
from .bus.consumer import Consumer, Delivery
from .bus.store import Bucket
from .checks import Refusal
from .failures import Failures
from .patience import surely


class Unserved:
    """Reads every command; leaves those alone whose account is in the register of accounts."""

    def __init__(self, consumer: Consumer, prefix: str, register: Bucket[Notice], failures: Failures) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._register = register
        self._failures = failures
        self._served: set[str] = set()

    async def run(self) -> None:
        """Watch until cancelled."""
        async for delivery in self._consumer.deliveries():
            try:
                subject = subjects.parse_command(delivery.subject, prefix=self._prefix)
            except subjects.InvalidSubject:
                await delivery.ack()  # nobody's token: there is no tenant's subject to tell it on
                continue
            if not await surely(self._is_served, subject):
                await self._failures.tell(delivery, _refusal(subject, delivery))
            await delivery.ack()

    async def _is_served(self, subject: subjects.CommandSubject) -> bool:
        key = f"{subject.tenant}.{subject.channel}.{subject.account}"
        if key not in self._served and await self._register.get(key) is not None:
            self._served.add(key)
        return key in self._served


def _refusal(subject: subjects.CommandSubject, delivery: Delivery) -> Refusal:
    if subjects.ANY in (subject.channel, subject.account):
        refusal = Refusal("no_dispatcher", "nothing here chooses accounts; name channel and account in the subject")
    else:
        refusal = Refusal("unknown_account", f"no gateway serves the {subject.channel} account {subject.account}")
    try:
        command = Command.decode(delivery.data)
    except Undecodable as error:
        refusal.command_id, refusal.command_type = error.id, error.type
    else:
        refusal.command_id, refusal.command_type = command.id, command.type
    return refusal
