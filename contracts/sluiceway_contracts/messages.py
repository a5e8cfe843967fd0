"""Messages and the people who write them: what was said, by whom, to whom; not what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from .parts import AnyPart
from .values import AddressUri, Base, Id, Language, Scalar, Time, Timed

Visibility = Annotated[str, Meta(description="private, or public: a review, comment or mention that anybody may read.")]
Attributes = Annotated[Mapping[str, Scalar], Meta(description="At most 4 KB of scalars, for integrators.")]
Extensions = Annotated[
    Mapping[str, Mapping[str, Any]],
    Meta(description="By channel, what only that channel knows; nothing that a reader needs."),
]


class Party(Base, frozen=True, kw_only=True):
    """Somebody in a conversation.

    `role` is customer, agent, bot or system. `assurance` says how well we know that the address is theirs: asserted
    (typed in by anybody), channel (the provider vouches), verified (they proved it), agent (a person decided).
    """

    role: str
    address: AddressUri | None = None
    contact_id: Id | None = None
    name: str | None = None
    agent_id: str | None = None
    assurance: str | None = None


class MessageRef(Base, frozen=True, kw_only=True):
    """Another message: by our id, by the provider's where ours is unknown, with an excerpt if one was sent."""

    id: Id | None = None
    external_id: str | None = None
    excerpt: str | None = None


class EmailThread(Base, frozen=True, kw_only=True):
    """Where a mail stands in its thread: msg-ids of RFC 5322, without the angle brackets."""

    message_id: str | None = None
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


class Referral(Base, frozen=True, kw_only=True):
    """What brought the customer here. `kind` is ad, post, link, page or qr."""

    kind: str
    url: str | None = None
    title: str | None = None
    id: str | None = None
    campaign: str | None = None


class Message(Timed, frozen=True, kw_only=True):
    """One message, in or out.

    `author` wrote it; `sender` carried it where that is somebody else. `text` is a plain rendering of all parts.
    `external_ids` are the provider's ids, one a piece. `occurred_at` is the provider's time, `received_at` ours.
    After `reply_window_ends` the provider refuses free text. `redactions` names what was masked before it was stored,
    such as card_number.
    """

    id: Id
    author: Party
    parts: tuple[AnyPart, ...]
    text: str = ""
    sender: Party | None = None
    to: tuple[Party, ...] = ()
    cc: tuple[Party, ...] = ()
    subject: str | None = None
    visibility: Visibility = "private"
    external_ids: tuple[str, ...] = ()
    occurred_at: Time | None = None
    received_at: Time | None = None
    lang: Language | None = None
    reply_to: MessageRef | None = None
    thread: EmailThread | None = None
    referral: Referral | None = None
    reply_window_ends: Time | None = None
    redactions: tuple[str, ...] = ()
    attrs: Attributes = {}
    ext: Extensions = {}
