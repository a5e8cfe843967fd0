"""What an event changes in its conversation's record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sluiceway_contracts import (
    STATUS_ORDER,
    TERMINAL,
    ContactMerged,
    ContactUnmerged,
    ConversationChannelChanged,
    ConversationClosed,
    ConversationOpened,
    ConversationReopened,
    ConversationState,
    Event,
    LastInbound,
    LastOutbound,
    MessageCount,
    MessageReceived,
    MessageSent,
    MessageStatus,
)
from sluiceway_contracts.events import EventData

Changes = dict[str, Any]

OPEN: Changes = {"state": "open", "closed_at": None, "closed_reason": None, "continued_as": None}
TAKEN = "sent"
"""What a message is until a status says otherwise: the provider took it."""


def changes(old: ConversationState, event: Event, sequence: int) -> Changes:
    """The fields that the event gives another value."""
    fields = _FIELDS.get(type(event.data))
    told = {} if fields is None else fields(old, event, event.data, sequence)
    return {name: value for name, value in told.items() if getattr(old, name) != value}


def _rises(old: str, new: str) -> bool:
    """Statuses only rise; a terminal one comes last, and after delivery only what may follow it, as the gateway saw."""
    if new in TERMINAL or old in TERMINAL:
        return old not in TERMINAL
    return STATUS_ORDER.get(new, -1) > STATUS_ORDER.get(old, -1)


def _received(old: ConversationState, event: Event, received: MessageReceived, sequence: int) -> Changes:
    message = received.message
    last = LastInbound(
        message_id=message.id,
        at=event.time,
        sequence=sequence,
        channel=event.channel,
        account=event.account,
        address=message.author.address,
        reply_window_ends=message.reply_window_ends,
    )
    told: Changes = {"last_inbound": last, "channels": _with(old, event.channel)}
    if old.last_inbound is None or old.last_inbound.message_id != message.id:  # stored twice, it is one message
        count = old.message_count
        told["message_count"] = MessageCount(inbound=count.inbound + 1, outbound=count.outbound)
    return told


def _sent(old: ConversationState, event: Event, sent: MessageSent, sequence: int) -> Changes:
    message, count = sent.message, old.message_count
    if old.last_outbound is not None and old.last_outbound.message_id == message.id:
        return {}
    last = LastOutbound(
        message_id=message.id, at=event.time, status=TAKEN, channel=event.channel, account=event.account
    )
    more = MessageCount(inbound=count.inbound, outbound=count.outbound + 1)
    return {"last_outbound": last, "channels": _with(old, event.channel), "message_count": more}


def _status(old: ConversationState, event: Event, status: MessageStatus, sequence: int) -> Changes:
    last = old.last_outbound
    if last is None or last.message_id != status.message_id or not _rises(last.status, status.overall):
        return {}
    return {"last_outbound": msgspec.structs.replace(last, status=status.overall)}


def _opened(old: ConversationState, event: Event, opened: ConversationOpened, sequence: int) -> Changes:
    told = {"contact": opened.contact_id, "opened_at": event.time, "channels": _with(old, opened.channel)}
    return OPEN | told | {"previous_id": opened.previous_id}


def _closed(old: ConversationState, event: Event, closed: ConversationClosed, sequence: int) -> Changes:
    told = {"closed_at": event.time, "closed_reason": closed.reason, "continued_as": closed.continued_as}
    return {"state": "closed"} | told


def _reopened(old: ConversationState, event: Event, reopened: ConversationReopened, sequence: int) -> Changes:
    return OPEN | {"channels": _with(old, reopened.channel)}


def _channel_changed(
    old: ConversationState, event: Event, changed: ConversationChannelChanged, sequence: int
) -> Changes:
    return {"channels": _with(old, changed.channel)}


def _merged(old: ConversationState, event: Event, merged: ContactMerged, sequence: int) -> Changes:
    """It goes on as another; `conversation.closed` may have said so already."""
    into = {moved.from_id: moved.into_id for moved in merged.conversations}[old.id]
    if old.state == "closed":
        return {"continued_as": into}
    return {"state": "closed", "closed_at": event.time, "closed_reason": "merged", "continued_as": into}


def _unmerged(old: ConversationState, event: Event, unmerged: ContactUnmerged, sequence: int) -> Changes:
    """It is no longer continued; `conversation.reopened` says where it is open again."""
    left = {moved.from_id for moved in unmerged.conversations if moved.into_id == old.id}
    return {"continued_as": None} if old.continued_as in left else {}


def _with(old: ConversationState, channel: str | None) -> tuple[str, ...]:
    return old.channels if channel is None or channel in old.channels else (*old.channels, channel)


_FIELDS: Mapping[type[EventData], Callable[[ConversationState, Event, Any, int], Changes]] = {
    MessageReceived: _received,
    MessageSent: _sent,
    MessageStatus: _status,
    ConversationOpened: _opened,
    ConversationClosed: _closed,
    ConversationReopened: _reopened,
    ConversationChannelChanged: _channel_changed,
    ContactMerged: _merged,
    ContactUnmerged: _unmerged,
}
