"""What conversations and contacts are now: records that the dispatcher keeps in KV, and its answers to questions.

Records follow from the stream of events alone and lag behind it by moments: the stream is the truth. In the bucket
`SLUICEWAY_STATE` they are under `<tenant>.conversation.<id>` and `<tenant>.contact.<id>`. A question is a request to
`subjects.ask(tenant, question)`; an answer that is none is `{"error": {"code", "message"}}`. Nothing here asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from .events import Error, Status
from .values import AddressUri, Base, Channel, Id, Time, Timed

Sequence = Annotated[int, Meta(description="Number of an event in the stream of events.")]

CONVERSATIONS_LISTED = 50
"""So many of a contact's conversations are in its record, the latest; the stream has the rest."""


class LastInbound(Timed, frozen=True, kw_only=True):
    """The customer's last message: where it came from, so where an answer goes, and until when it may be free text."""

    message_id: Id
    at: Time
    sequence: Sequence
    channel: Channel | None = None
    account: str | None = None
    address: AddressUri | None = None
    reply_window_ends: Time | None = None


class LastOutbound(Timed, frozen=True, kw_only=True):
    """The last message of ours that a provider took, and what has become of it as a whole."""

    message_id: Id
    at: Time
    status: Status
    channel: Channel | None = None
    account: str | None = None


class MessageCount(Base, frozen=True, kw_only=True):
    """Messages of a conversation: `in` from the customer, `out` to the customer."""

    inbound: int = msgspec.field(default=0, name="in")
    outbound: int = msgspec.field(default=0, name="out")


class ConversationState(Timed, frozen=True, kw_only=True):
    """A conversation. `state` is open, closed or erased; an erased one has its `id`, `contact` and `state` alone.

    `contact` is the contact whose it was when it began; `ask.contact` tells who that is now. `previous_id` is the
    contact's conversation before, `continued_as` where it goes on. `channels` are in the order of first use.
    `first_sequence` and `last_sequence` are the first event of it and the last that is in this record, `first_at` and
    `last_at` their times.
    """

    id: Id
    state: str
    contact: Id | None = None
    opened_at: Time | None = None
    closed_at: Time | None = None
    closed_reason: str | None = None
    previous_id: Id | None = None
    continued_as: Id | None = None
    channels: tuple[Channel, ...] = ()
    last_inbound: LastInbound | None = None
    last_outbound: LastOutbound | None = None
    message_count: MessageCount = MessageCount()
    first_sequence: Sequence = 0
    last_sequence: Sequence = 0
    first_at: Time | None = None
    last_at: Time | None = None


class ContactAddress(Timed, frozen=True, kw_only=True):
    """An address of a contact, since when, and how well we know so.

    `assurance` is asserted, channel, verified or agent. `method` says how it came here: inbound and outbound are
    messages from and to it, everything else is the method of `contact.linked` or `contact.verified`.
    """

    address: AddressUri
    assurance: str
    method: str
    since: Time
    channel: Channel | None = None


class ConsentState(Timed, frozen=True, kw_only=True):
    """Whether an address may be written to: the last `consent.changed` for it, channel and purpose."""

    address: AddressUri
    channel: Channel
    purpose: str
    state: str
    at: Time


class OpenConflict(Timed, frozen=True, kw_only=True):
    """A `contact.conflict` that nobody has decided: `candidate_id` may be the same person."""

    candidate_id: Id
    addresses: tuple[AddressUri, ...]
    at: Time


class ContactState(Timed, frozen=True, kw_only=True):
    """A contact. An erased one has its `id` and `erased_at` alone.

    `merged_into` is who this contact is now; the record stays as it was at the merge. `merged_from` are all contacts
    that are this one now. `conversations` are at most the last 50. `last_sequence` is the last event that changed the
    record; messages that tell nothing new of the contact do not.
    """

    id: Id
    addresses: tuple[ContactAddress, ...] = ()
    conversations: tuple[Id, ...] = ()
    open_conversation: Id | None = None
    consents: tuple[ConsentState, ...] = ()
    conflicts: tuple[OpenConflict, ...] = ()
    merged_into: Id | None = None
    merged_from: tuple[Id, ...] = ()
    erased_at: Time | None = None
    first_sequence: Sequence = 0
    last_sequence: Sequence = 0


class ConversationQuestion(Base, frozen=True, kw_only=True):
    """`ask.conversation`: the answer is its `ConversationState`; where it goes on is another question."""

    conversation_id: Id


class ContactQuestion(Base, frozen=True, kw_only=True):
    """`ask.contact`: by `contact_id`, or else by `address`. The answer is a `ContactAnswer`."""

    contact_id: Id | None = None
    address: AddressUri | None = None


class ContactAnswer(Base, frozen=True, kw_only=True):
    """Who somebody is now: `contact` is where merges led to. `ids` are all contact ids that are this person.

    Everything of a person is on the subjects of all `ids`.
    """

    contact: ContactState
    ids: tuple[Id, ...]


class Unanswered(Base, frozen=True, kw_only=True):
    """The answer to a question that can't be answered. `error.code` is malformed, not_found or unavailable."""

    error: Error


STATES: Mapping[str, type[Base]] = {"conversation": ConversationState, "contact": ContactState}
"""The records of the bucket, by the second token of their keys."""

QUESTIONS: Mapping[str, tuple[type[Base], type[Base]]] = {
    "conversation": (ConversationQuestion, ConversationState),
    "contact": (ContactQuestion, ContactAnswer),
}
"""By question: what is asked, and what is answered."""

STRUCTURES: tuple[type[Base], ...] = tuple(
    dict.fromkeys((*STATES.values(), *(struct for pair in QUESTIONS.values() for struct in pair), Unanswered))
)
"""All of them, each once."""
