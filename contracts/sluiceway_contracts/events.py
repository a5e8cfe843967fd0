"""Events: what happened, one structure a type. An event tells, it never asks for anything.

The type of an event is "sluiceway." + family + "." + verb; its `data` is one of the structures below. Types reserved
for later versions: feedback.requested|received, sla.started|paused|warned|breached|met, control.offered|accepted|
passed|released|taken, conversation.assigned|labelled, note.added, commerce.order|shipment|context,
social.mentioned, message.annotated, template.status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from .messages import Extensions, Message, MessageRef, Party
from .parts import AnyPart
from .values import AddressUri, Base, ByteCount, Channel, Currency, Decimal, Id, MediaRef, Milliseconds, Time, Timed

Status = Annotated[
    str,
    Meta(
        description="Rises only: accepted, unknown, queued, sent, delivered, read. Terminal: failed, rejected, "
        "expired, revoked, bounced, superseded, complained. unknown: written to the provider, not answered; not final."
    ),
]
STATUS_ORDER: Mapping[str, int] = {"accepted": 0, "unknown": 1, "queued": 2, "sent": 3, "delivered": 4, "read": 5}
"""Rank of each status that is not terminal; a message's status only rises."""
TERMINAL = frozenset({"failed", "rejected", "expired", "revoked", "bounced", "superseded", "complained"})
"""Statuses that end a message. After `delivered` only `bounced` and `complained` may follow."""


class EventData(Base, frozen=True, kw_only=True):
    """What every event's `data` derives from; `type` is the event type."""

    type: ClassVar[str]


class Error(Base, frozen=True, kw_only=True):
    """Why something did not happen: `code` of ours for programs, `message` for people, `provider_code` as it came.

    `retryable`: the same again, later, may work.
    """

    code: str
    message: str
    retryable: bool = False
    provider_code: str | None = None


class Price(Base, frozen=True, kw_only=True):
    """What the provider charged."""

    amount: Decimal
    currency: Currency


class MessageReceived(EventData, frozen=True, kw_only=True):
    """A customer wrote. `resolved_by` says how the conversation was found: token, message_id, thread, open, new."""

    type: ClassVar[str] = "sluiceway.message.received"
    message: Message
    resolved_by: str
    is_new_conversation: bool = False


class MessageSent(EventData, frozen=True, kw_only=True):
    """The provider took a message of ours; `sluiceway.message.status` tells what becomes of it.

    With `fallback_channels` a message may be sent more than once, each time as another `attempt`.
    """

    type: ClassVar[str] = "sluiceway.message.sent"
    message: Message
    attempt: int = 1


class Piece(Base, frozen=True, kw_only=True):
    """One of the provider's messages that ours was cut into: number `index` of `of`, counted from 1."""

    index: int
    of: int
    status: Status
    recipient: AddressUri | None = None
    external_id: str | None = None
    error: Error | None = None


class MessageStatus(EventData, Timed, frozen=True, kw_only=True):
    """What became of a message of ours.

    `status` is what the provider has just told of one piece, `overall` the lowest of all pieces; any failed piece makes
    it failed, and `pieces` tells what arrived. `segments` are those that the provider bills, `ext` is what else it
    tells of the piece. An `attempt` that is superseded was given up for the next one, on another channel: should it
    arrive after all, nothing tells it.
    """

    type: ClassVar[str] = "sluiceway.message.status"
    message_id: Id
    status: Status
    overall: Status
    pieces: tuple[Piece, ...]
    attempt: int = 1
    occurred_at: Time | None = None
    price: Price | None = None
    segments: int | None = None
    ext: Extensions = {}


class MessageMedia(EventData, frozen=True, kw_only=True):
    """A media part was stored, or could not be. `state` is stored or failed.

    `mime` is what the content is, by itself, `size` in bytes. `error.code` is media_gone, media_too_large, media_empty,
    media_forbidden (an address that must not be fetched from), media_unreachable, credentials_refused or store_full.
    A `stored` is final: after a crash, a `failed` of the same part may follow it, and says nothing.
    """

    type: ClassVar[str] = "sluiceway.message.media"
    message_id: Id
    part_id: str
    state: str
    ref: MediaRef | None = None
    mime: str | None = None
    size: ByteCount | None = None
    error: Error | None = None


class MessageEdited(EventData, Timed, frozen=True, kw_only=True):
    """A message now says something else: `parts` replace what was there."""

    type: ClassVar[str] = "sluiceway.message.edited"
    target: MessageRef
    parts: tuple[AnyPart, ...]
    by: Party
    occurred_at: Time | None = None


class MessageDeleted(EventData, Timed, frozen=True, kw_only=True):
    """A message was withdrawn; readers should no longer show it."""

    type: ClassVar[str] = "sluiceway.message.deleted"
    target: MessageRef
    by: Party
    occurred_at: Time | None = None


class MessageReaction(EventData, Timed, frozen=True, kw_only=True):
    """Somebody reacted to a message. `action` is added or removed; `emoji` is Unicode, absent where all are removed."""

    type: ClassVar[str] = "sluiceway.message.reaction"
    target: MessageRef
    by: Party
    action: str
    emoji: str | None = None
    occurred_at: Time | None = None


class MessageSeen(EventData, Timed, frozen=True, kw_only=True):
    """The customer saw our messages up to and including `target`, where the provider tells it so."""

    type: ClassVar[str] = "sluiceway.message.seen"
    target: MessageRef
    by: Party
    occurred_at: Time | None = None


class ConversationOpened(EventData, frozen=True, kw_only=True):
    """A conversation began. `reason` is inbound, outbound or command; `previous_id` is the contact's one before."""

    type: ClassVar[str] = "sluiceway.conversation.opened"
    conversation_id: Id
    contact_id: Id
    channel: Channel
    reason: str
    previous_id: Id | None = None


class ConversationClosed(EventData, frozen=True, kw_only=True):
    """A conversation ended. `reason` is idle, command or merged; `continued_as` is where it goes on, if anywhere."""

    type: ClassVar[str] = "sluiceway.conversation.closed"
    conversation_id: Id
    contact_id: Id
    channel: Channel
    reason: str
    continued_as: Id | None = None


class ConversationReopened(EventData, frozen=True, kw_only=True):
    """A closed conversation goes on. `reason` is inbound, outbound or command."""

    type: ClassVar[str] = "sluiceway.conversation.reopened"
    conversation_id: Id
    contact_id: Id
    channel: Channel
    reason: str


class ConversationChannelChanged(EventData, frozen=True, kw_only=True):
    """The customer now writes on another channel, in the same conversation."""

    type: ClassVar[str] = "sluiceway.conversation.channel_changed"
    conversation_id: Id
    contact_id: Id
    channel: Channel
    previous_channel: Channel
    reason: str


class ContactLinked(EventData, frozen=True, kw_only=True):
    """An address now belongs to a contact. `method` says how that was found, `evidence` names the proof."""

    type: ClassVar[str] = "sluiceway.contact.linked"
    contact_id: Id
    addresses: tuple[AddressUri, ...]
    assurance: str
    method: str
    evidence: str | None = None
    by: Party | None = None


class ContactUnlinked(EventData, frozen=True, kw_only=True):
    """An address no longer belongs to a contact."""

    type: ClassVar[str] = "sluiceway.contact.unlinked"
    contact_id: Id
    addresses: tuple[AddressUri, ...]
    method: str
    evidence: str | None = None
    by: Party | None = None


class ContactVerified(EventData, frozen=True, kw_only=True):
    """A contact proved that an address is theirs."""

    type: ClassVar[str] = "sluiceway.contact.verified"
    contact_id: Id
    addresses: tuple[AddressUri, ...]
    assurance: str
    method: str
    evidence: str | None = None
    by: Party | None = None


class ContactConflict(EventData, frozen=True, kw_only=True):
    """Somebody gave an address that is another contact's: `candidate_id` may be the same person; a person decides."""

    type: ClassVar[str] = "sluiceway.contact.conflict"
    contact_id: Id
    candidate_id: Id
    addresses: tuple[AddressUri, ...]
    assurance: str
    method: str
    evidence: str | None = None


class Continuation(Base, frozen=True, kw_only=True):
    """The conversation `from_id` goes on as `into_id`."""

    from_id: Id
    into_id: Id


class ContactMerged(EventData, frozen=True, kw_only=True):
    """Two contacts are one person: `from_id` is from now on `into_id`. `undo` is what `contact.split` takes back."""

    type: ClassVar[str] = "sluiceway.contact.merged"
    from_id: Id
    into_id: Id
    conversations: tuple[Continuation, ...] = ()
    undo: Id | None = None
    method: str
    evidence: str | None = None
    by: Party | None = None


class ContactUnmerged(EventData, frozen=True, kw_only=True):
    """A merge was taken back: the addresses are `into_id`'s again, no longer `from_id`'s."""

    type: ClassVar[str] = "sluiceway.contact.unmerged"
    from_id: Id
    into_id: Id
    addresses: tuple[AddressUri, ...] = ()
    conversations: tuple[Continuation, ...] = ()
    method: str
    evidence: str | None = None
    by: Party | None = None


class ContactErased(EventData, frozen=True, kw_only=True):
    """Everything about a contact was erased here; readers must erase what they keep."""

    type: ClassVar[str] = "sluiceway.contact.erased"
    contact_id: Id
    method: str
    by: Party | None = None


class Wait(Base, frozen=True, kw_only=True):
    """An estimated wait as a range."""

    low: Milliseconds
    high: Milliseconds


class CallRequested(EventData, Timed, frozen=True, kw_only=True):
    """Somebody wants to be called, or calls. `state` is requested, scheduled, or unproven: proof is asked for.

    `direction` is outbound where we are to call, inbound where they did.
    """

    type: ClassVar[str] = "sluiceway.call.requested"
    call_id: Id
    state: str
    address: AddressUri | None = None
    not_before: Time | None = None
    skill: str | None = None
    reason: str | None = None
    direction: str = "outbound"


class CallQueued(EventData, frozen=True, kw_only=True):
    """A call has, or changed, its place in the queue: `position` counts from 1; no `wait_ms`, no honest estimate."""

    type: ClassVar[str] = "sluiceway.call.queued"
    call_id: Id
    state: str
    position: int | None = None
    wait_ms: Wait | None = None


class CallUpdated(EventData, Timed, frozen=True, kw_only=True):
    """A call went on. `state` is offered, ringing, answered, connected, held, retrying.

    `by` is the agent, where there is one; `retry_at` is when the customer is tried again.
    """

    type: ClassVar[str] = "sluiceway.call.updated"
    call_id: Id
    state: str
    by: Party | None = None
    error: Error | None = None
    retry_at: Time | None = None


class CallEnded(EventData, frozen=True, kw_only=True):
    """A call is over. `state` is answered, given_up, canceled or unknown (nobody can say whether it was placed).

    `disposition` is, where nobody spoke, one of vCon's (draft-ietf-vcon-vcon-core): no-answer, congestion, failed,
    busy, hung-up, voicemail-no-message. `duration_ms` is how long they spoke, `waited_ms` how long the customer waited.
    """

    type: ClassVar[str] = "sluiceway.call.ended"
    call_id: Id
    state: str
    disposition: str | None = None
    duration_ms: Milliseconds | None = None
    error: Error | None = None
    waited_ms: Milliseconds | None = None
    by: Party | None = None


class CallRecording(EventData, frozen=True, kw_only=True):
    """A recording of a call. `state` is pending, stored or failed."""

    type: ClassVar[str] = "sluiceway.call.recording"
    call_id: Id
    state: str
    ref: MediaRef | None = None
    duration_ms: Milliseconds | None = None


class CallTranscript(EventData, frozen=True, kw_only=True):
    """A call, or part of it, in writing."""

    type: ClassVar[str] = "sluiceway.call.transcript"
    call_id: Id
    state: str
    text: str


class AgentChanged(EventData, frozen=True, kw_only=True):
    """What is known of an agent now. `state` is available, busy, away or offline."""

    type: ClassVar[str] = "sluiceway.agent.changed"
    agent_id: str
    state: str
    name: str | None = None
    skills: tuple[str, ...] = ()
    capacity: int = 1


class ConsentChanged(EventData, frozen=True, kw_only=True):
    """An address may, or may no longer, be written to.

    `purpose` is all, service or marketing; `state` is granted or revoked; `method` is keyword, provider, command, …
    """

    type: ClassVar[str] = "sluiceway.consent.changed"
    address: AddressUri
    channel: Channel
    purpose: str
    state: str
    method: str
    evidence: str | None = None


class CommandFailed(EventData, frozen=True, kw_only=True):
    """A command could not be carried out; nothing was sent. `command_id` is absent where it could not be read."""

    type: ClassVar[str] = "sluiceway.command.failed"
    error: Error
    command_id: str | None = None
    command_type: str | None = None


class ErrorDeadLetter(EventData, frozen=True, kw_only=True):
    """Something was put aside: it is in the stream of dead letters under `sequence`, with its raw bytes."""

    type: ClassVar[str] = "sluiceway.error.dead_letter"
    error: Error
    sequence: int
    connection: str | None = None
    command_id: str | None = None


class AccountHealth(EventData, Timed, frozen=True, kw_only=True):
    """An account works, or stopped to. `state` is healthy, throttled or paused."""

    type: ClassVar[str] = "sluiceway.account.health"
    state: str
    since: Time
    error: Error | None = None


class AccountUnknown(EventData, frozen=True, kw_only=True):
    """A provider delivered for an identity that is nobody's account: configure it. `sequence`: its dead letter."""

    type: ClassVar[str] = "sluiceway.account.unknown"
    connection: str
    identity: str
    sequence: int


class TypingChanged(EventData, frozen=True, kw_only=True):
    """Somebody began, or ceased, to write. Live only: never stored. `state` is started or stopped."""

    type: ClassVar[str] = "sluiceway.typing.changed"
    by: Party
    state: str


class UnknownEvent(EventData, frozen=True, kw_only=True):
    """An event of a type that this reader does not know: `raw` is its data, as JSON gave it."""

    type: ClassVar[str] = ""
    raw: Any = None


EVENTS: Mapping[str, type[EventData]] = {
    data.type: data
    for data in (
        MessageReceived,
        MessageSent,
        MessageStatus,
        MessageMedia,
        MessageEdited,
        MessageDeleted,
        MessageReaction,
        MessageSeen,
        ConversationOpened,
        ConversationClosed,
        ConversationReopened,
        ConversationChannelChanged,
        ContactLinked,
        ContactUnlinked,
        ContactVerified,
        ContactConflict,
        ContactMerged,
        ContactUnmerged,
        ContactErased,
        CallRequested,
        CallQueued,
        CallUpdated,
        CallEnded,
        CallRecording,
        CallTranscript,
        AgentChanged,
        ConsentChanged,
        CommandFailed,
        ErrorDeadLetter,
        AccountHealth,
        AccountUnknown,
        TypingChanged,
    )
}
"""The events of this version, by type."""

LIVE = frozenset({TypingChanged.type})
"""Types that are published under `live`, which no stream keeps."""
