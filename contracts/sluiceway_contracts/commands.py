"""Commands: what an application asks a gateway or the dispatcher to do. A command asks, it never tells.

What becomes of a command is on the stream, with the command's id as `causationid`; of a live one nothing is. Types
reserved for later versions: control.take|pass|release, conversation.assign|label, note.add, feedback.ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .events import Error
from .messages import MessageRef, Party, Visibility
from .parts import AnyPart
from .values import AddressUri, Base, Channel, Id, Milliseconds, Time, Timed


class CommandData(Base, frozen=True, kw_only=True):
    """What every command's `data` derives from; `type` is the command type."""

    type: ClassVar[str]


class MessageSend(CommandData, Timed, frozen=True, kw_only=True):
    """Send a message, to a conversation or to addresses.

    `message_id` becomes the id of the message and is the idempotency key: the same one is never sent twice. Not sent by
    `expires_at` (default: 72 h after the command) it is not sent at all. `not_before` is at most 6 d ahead. With
    `if_last_inbound`, it is refused where the customer has written something newer than that message.
    `subject` is shown where the channel has subjects.

    The dispatcher alone knows the rest, so that such a command names no account. `overrides` has, by channel, the
    `parts` and the `subject` that this channel is given instead. Where an attempt failed, or was not delivered within
    `fallback_after_ms` (1 s to 6 d), it is superseded by one on the next of `fallback_channels` that is open. `attempt`
    is the dispatcher's: it numbers them in what it hands to the gateways.
    """

    type: ClassVar[str] = "sluiceway.message.send"
    message_id: Id
    author: Party
    parts: tuple[AnyPart, ...]
    conversation_id: Id | None = None
    to: tuple[AddressUri, ...] = ()
    cc: tuple[AddressUri, ...] = ()
    subject: str | None = None
    visibility: Visibility = "private"
    reply_to: MessageRef | None = None
    expires_at: Time | None = None
    not_before: Time | None = None
    fallback_channels: tuple[Channel, ...] = ()
    fallback_after_ms: Milliseconds = 300_000
    overrides: Mapping[str, Mapping[str, Any]] = {}
    if_last_inbound: Id | None = None
    attempt: int | None = None


class MessageEdit(CommandData, frozen=True, kw_only=True):
    """Replace the parts of a message of ours, where the channel can."""

    type: ClassVar[str] = "sluiceway.message.edit"
    message_id: Id
    parts: tuple[AnyPart, ...]
    author: Party | None = None


class MessageDelete(CommandData, frozen=True, kw_only=True):
    """Withdraw a message of ours, where the channel can."""

    type: ClassVar[str] = "sluiceway.message.delete"
    message_id: Id


class MessageReact(CommandData, frozen=True, kw_only=True):
    """Add or remove a reaction. `action` is add or remove."""

    type: ClassVar[str] = "sluiceway.message.react"
    target: MessageRef
    emoji: str
    action: str = "add"


class MessageMarkSeen(CommandData, frozen=True, kw_only=True):
    """Show the customer that their messages up to `target` were seen, where the channel can."""

    type: ClassVar[str] = "sluiceway.message.mark_seen"
    target: MessageRef


class TypingSet(CommandData, frozen=True, kw_only=True):
    """Show the customer that somebody is writing. `state` is started or stopped.

    It is live: for NATS core, kept by no stream, done at once or never. Say it again every few seconds, for as long as
    somebody writes.
    """

    type: ClassVar[str] = "sluiceway.typing.set"
    state: str


class CallRequest(CommandData, Timed, frozen=True, kw_only=True):
    """Put a call to a customer into the queue; `call_id` is the idempotency key.

    The number is `address`, else the one that the contact of the conversation has. One that nobody proved is asked for
    proof first, unless `is_proven`. Of equal `priority`, a number that is higher the more it hurries, the place is by
    the time of the command. `reason` is told to the agent. The command's subject is the conversation.
    """

    type: ClassVar[str] = "sluiceway.call.request"
    call_id: Id
    address: AddressUri | None = None
    skill: str | None = None
    not_before: Time | None = None
    priority: int = 0
    reason: str | None = None
    is_proven: bool = False


class CallPlace(CommandData, frozen=True, kw_only=True):
    """Place a call that waits now, for the agent who claims it."""

    type: ClassVar[str] = "sluiceway.call.place"
    call_id: Id
    agent_id: str | None = None


class CallCancel(CommandData, frozen=True, kw_only=True):
    """Take a call out of the queue, or hang up."""

    type: ClassVar[str] = "sluiceway.call.cancel"
    call_id: Id
    reason: str | None = None


class CallDial(CommandData, Timed, frozen=True, kw_only=True):
    """The dispatcher's, to the gateway of an account: call one party, `leg` being agent or customer.

    It is done once for each `attempt`, whatever happens, and not after `expires_at`. It rings for `ring_ms`.
    """

    type: ClassVar[str] = "sluiceway.call.dial"
    call_id: Id
    attempt: int
    leg: str
    address: AddressUri
    ring_ms: Milliseconds = 25_000
    expires_at: Time | None = None


class CallHangUp(CommandData, frozen=True, kw_only=True):
    """The dispatcher's, to the gateway of an account: end what it calls `external_id`."""

    type: ClassVar[str] = "sluiceway.call.hang_up"
    call_id: Id
    external_id: str


class CallStep(CommandData, Timed, frozen=True, kw_only=True):
    """A gateway's, to the dispatcher: how a call went on. `address` is the other party's, `account` ours.

    `skill` is what agents must have whom somebody who calls waits for.

    `step` is placed, ringing, answered, accepted, declined, connected, busy, no_answer, failed, canceled, completed,
    lost (nobody knows whether it was placed) for a leg, which is agent or customer; arrived, wants_call_back,
    wants_person, left_message, hung_up for somebody who calls us; recording, which the gateway finds by that name;
    proven where the number has proven itself; or due, when its time has come.
    """

    type: ClassVar[str] = "sluiceway.call.step"
    call_id: Id
    step: str
    leg: str = ""
    attempt: int = 0
    external_id: str | None = None
    channel: Channel | None = None
    account: str | None = None
    address: AddressUri | None = None
    assurance: str = "asserted"
    name: str | None = None
    duration_ms: Milliseconds | None = None
    recording: str | None = None
    skill: str | None = None
    occurred_at: Time | None = None
    error: Error | None = None


class AgentSet(CommandData, frozen=True, kw_only=True):
    """Say who an agent is and whether calls may be put through; it replaces what was said before.

    `agent_id` is a token. `reach` are the addresses at which calls reach them, in order of preference. `state` is
    available, busy, away or offline: only who is available is given calls, at most `capacity` at once.
    """

    type: ClassVar[str] = "sluiceway.agent.set"
    agent_id: str
    state: str
    name: str | None = None
    skills: tuple[str, ...] = ()
    reach: tuple[AddressUri, ...] = ()
    capacity: int = 1


class ConversationOpen(CommandData, frozen=True, kw_only=True):
    """Open a conversation with the contact of an address."""

    type: ClassVar[str] = "sluiceway.conversation.open"
    address: AddressUri
    conversation_id: Id | None = None


class ConversationClose(CommandData, frozen=True, kw_only=True):
    """Close a conversation."""

    type: ClassVar[str] = "sluiceway.conversation.close"
    conversation_id: Id
    reason: str | None = None


class ContactLink(CommandData, frozen=True, kw_only=True):
    """Add an address to a contact, by a person's decision or with evidence."""

    type: ClassVar[str] = "sluiceway.contact.link"
    contact_id: Id
    address: AddressUri
    assurance: str = "agent"
    evidence: str | None = None


class ContactUnlink(CommandData, frozen=True, kw_only=True):
    """Take an address from a contact."""

    type: ClassVar[str] = "sluiceway.contact.unlink"
    contact_id: Id
    address: AddressUri


class ContactMerge(CommandData, frozen=True, kw_only=True):
    """Two contacts are one person: `from_id` becomes `into_id`."""

    type: ClassVar[str] = "sluiceway.contact.merge"
    from_id: Id
    into_id: Id
    evidence: str | None = None


class ContactSplit(CommandData, frozen=True, kw_only=True):
    """Take a merge back; `undo` is the one of `sluiceway.contact.merged`."""

    type: ClassVar[str] = "sluiceway.contact.split"
    contact_id: Id
    undo: Id


class ContactErase(CommandData, frozen=True, kw_only=True):
    """Erase everything that is known of a contact."""

    type: ClassVar[str] = "sluiceway.contact.erase"
    contact_id: Id
    reason: str | None = None


class ConsentSet(CommandData, frozen=True, kw_only=True):
    """Say that an address may, or may no longer, be written to. `state` is granted or revoked."""

    type: ClassVar[str] = "sluiceway.consent.set"
    address: AddressUri
    state: str
    channel: Channel | None = None
    purpose: str = "all"
    evidence: str | None = None


class UnknownCommand(CommandData, frozen=True, kw_only=True):
    """A command of a type that this reader does not know: `raw` is its data, as JSON gave it."""

    type: ClassVar[str] = ""
    raw: Any = None


COMMANDS: Mapping[str, type[CommandData]] = {
    data.type: data
    for data in (
        MessageSend,
        MessageEdit,
        MessageDelete,
        MessageReact,
        MessageMarkSeen,
        TypingSet,
        CallRequest,
        CallPlace,
        CallCancel,
        CallDial,
        CallHangUp,
        CallStep,
        AgentSet,
        ConversationOpen,
        ConversationClose,
        ContactLink,
        ContactUnlink,
        ContactMerge,
        ContactSplit,
        ContactErase,
        ConsentSet,
    )
}
"""The commands of this version, by type."""

LIVE_COMMANDS = frozenset({TypingSet.type})
"""Types that are published under `live`, which no stream keeps; nothing is told of what becomes of them."""
