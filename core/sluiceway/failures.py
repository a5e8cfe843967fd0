"""Commands that can't be carried out, told on the stream as `command.failed`. Judges nothing."""

from __future__ import annotations

import hashlib

import structlog

from sluiceway_contracts import CommandFailed, Error, Event, subjects

from .bus.consumer import Delivery
from .checks import Refusal
from .identity import Identity
from .ledger import MessageRecord
from .patience import surely
from .reports import status_event
from .stream import EventStream

log = structlog.get_logger(__name__)

MAX_MESSAGE_CHARS = 500
MAX_NAME_CHARS = 128


class Failures:
    """Tells of refused commands. The id follows from the command's bytes: told twice, it is one event."""

    def __init__(self, prefix: str, identity: Identity, stream: EventStream) -> None:
        self._prefix = prefix
        self._identity = identity
        self._stream = stream

    async def tell(self, delivery: Delivery, refusal: Refusal) -> None:
        """Publish the failure, waiting for NATS as long as it takes."""
        subject = subjects.parse_command(delivery.subject, prefix=self._prefix)
        log.warning(
            "command.failed",
            account=subject.account,
            command=(refusal.command_id or "")[:MAX_NAME_CHARS],
            code=refusal.code,
        )
        await surely(self._stream.publish, self._event(subject, delivery.data, refusal))

    async def tell_attempt(self, tenant: str, message_id: str, record: MessageRecord) -> None:
        """Publish that one attempt was refused: the command has not failed while there are other channels."""
        piece = record.pieces[0]
        code = piece.error.code if piece.error else piece.status
        log.warning("attempt.refused", account=record.account, message=message_id, attempt=record.attempt, code=code)
        event = status_event(tenant, message_id, record, piece, None, self._identity)
        await surely(self._stream.publish, event)

    def _event(self, subject: subjects.CommandSubject, raw: bytes, refusal: Refusal) -> Event:
        command_id = (refusal.command_id or "")[:MAX_NAME_CHARS] or None
        data = CommandFailed(
            command_id=command_id,
            command_type=(refusal.command_type or "")[:MAX_NAME_CHARS] or None,
            error=Error(code=refusal.code, message=str(refusal)[:MAX_MESSAGE_CHARS]),
        )
        addressed = subjects.ANY not in (subject.channel, subject.account)
        digest = hashlib.sha256(raw).hexdigest()
        return Event(
            id=self._identity.id(subject.tenant, data.type, subject.channel, subject.account, refusal.code, digest),
            tenant=subject.tenant,
            channel=subject.channel if addressed else None,
            account=subject.account if addressed else None,
            subject=subject.conversation,
            causationid=command_id,
            data=data,
        )
