"""The end of a call, told as an event and as a message of its conversation; and legs that are hung up on."""

from __future__ import annotations

import datetime

from sluiceway_contracts import Call, CallEnded, CallHangUp, Error, Message, MessageSent, Party
from sluiceway_contracts.parts import complete, plain

from .change import Change
from .records import ENDED

# vCon's dispositions: https://datatracker.ietf.org/doc/draft-ietf-vcon-vcon-core/
DISPOSITION = {"busy": "busy", "no_answer": "no-answer", "failed": "failed", "canceled": "hung-up"}


def end(
    change: Change, state: str, outcome: str = "canceled", *, duration_ms: int | None = None, error: Error | None = None
) -> None:
    """It is over. `outcome` is a word of the contract's part `call`; it counts where nobody spoke."""
    record, now = change.record, change.now
    answered, connected = state == "answered", record.connected_at
    if answered and duration_ms is None and connected is not None:
        duration_ms = ms(now - connected)
    if not answered:
        duration_ms = None
    change.set(state=ENDED, outcome=state, ended_at=now, deadline=None, position=None)
    change.tell(
        CallEnded(
            call_id=record.call_id,
            state=state,
            disposition=None if answered else DISPOSITION.get(outcome),
            duration_ms=duration_ms,
            waited_ms=ms((connected or now) - record.since),
            by=change.by,
            error=error,
        )
    )
    if record.conversation is not None and (state != "canceled" or record.attempt):
        change.tell(_message(change, "answered" if answered else outcome, duration_ms))


def hang_up(change: Change) -> None:
    """End all legs of this attempt."""
    for leg in change.record.legs:
        hang_up_leg(change, leg)


def hang_up_leg(change: Change, leg: str) -> None:
    change.order(CallHangUp(call_id=change.record.call_id, external_id=leg), account=change.record.account)


def ms(span: datetime.timedelta) -> int:
    return max(0, int(span.total_seconds() * 1000))


def _message(change: Change, outcome: str, duration_ms: int | None) -> MessageSent:
    """The call as the conversation shows it."""
    record = change.record
    who = record.agent_name or record.agent or "nobody"
    summary = f"{who} spoke for {duration_ms // 1000} s" if duration_ms is not None else outcome.replace("_", " ")
    call = Call(id="1", call_id=record.call_id, outcome=outcome, duration_ms=duration_ms, summary=summary)
    parts = complete((call,))
    return MessageSent(
        message=Message(
            id=record.call_id,
            author=change.by or Party(role="system"),
            to=(Party(role="customer", address=record.address, contact_id=record.contact, name=record.name),),
            parts=parts,
            text=plain(parts),
            occurred_at=record.connected_at or change.now,
        )
    )
