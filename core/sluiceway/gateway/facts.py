"""What a delivery says, as facts: a gateway reports them, core credits, resolves and publishes them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from sluiceway_contracts import EmailThread, Error, MessageRef, Price, Referral
from sluiceway_contracts.parts import AnyPart

from ..wire import Response

Assurance: TypeAlias = Literal["asserted", "channel", "verified"]
Purpose: TypeAlias = Literal["address", "message-id", "link"]


class Fact(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="fact"):
    """Something that a delivery says.

    `at` is our identity as the provider writes it: it finds the account. `key` is what makes this fact itself: the
    same fact delivered again has the same key, another fact of the same kind never has.
    """

    at: str
    key: str
    occurred_at: datetime.datetime | None = None


class ReplyToken(Struct, frozen=True):
    """A text in which a reply token of ours may be. `purpose` is where it stood: address, message-id or link."""

    purpose: Purpose
    text: str


class Correspondent(Struct, frozen=True):
    """Somebody whom a message is addressed to; `address` is a URI, and unproven."""

    address: str
    name: str | None = None


class Received(Fact, frozen=True, kw_only=True, tag="received"):
    """A customer wrote. `sender` is an address URI.

    `assurance` says how well it is proven: channel where the provider vouches for it, verified where the customer
    proved it, asserted where anybody could have written it. `also` are further addresses of the sender that the same
    proof covers: they belong to one person from now on. `asserted` are addresses that the sender gave as theirs,
    unproven: they never join two people. `reply_tokens` may admit the message to the conversation that it answers.
    After `reply_window_ends` the provider refuses free text.

    `media` has, by part id, what a `MediaFetcher` needs to find the file, an id or an address; nobody is told it.
    `reply_to` needs the provider's id alone. `subject`, `to`, `cc` and `thread` are what letters have; `answers` are
    msg-ids (RFC 5322) that it refers to, the nearest first: they lead to a conversation only those who took part in it.
    With `echo` it was not the customer who wrote but one of us, in the channel's own app, and `sender` is the customer
    who got it: what we sent ourselves, by the first of `external_ids`, is left out. `automatic` says that a machine
    wrote, such as an out-of-office: it proves nothing of whom we wrote to.
    """

    sender: str
    parts: tuple[AnyPart, ...]
    assurance: Assurance = "channel"
    also: tuple[str, ...] = ()
    asserted: tuple[str, ...] = ()
    reply_tokens: tuple[ReplyToken, ...] = ()
    name: str | None = None
    lang: str | None = None
    reply_to: MessageRef | None = None
    referral: Referral | None = None
    external_ids: tuple[str, ...] = ()
    reply_window_ends: datetime.datetime | None = None
    media: Mapping[str, str] = {}
    subject: str | None = None
    to: tuple[Correspondent, ...] = ()
    cc: tuple[Correspondent, ...] = ()
    thread: EmailThread | None = None
    answers: tuple[str, ...] = ()
    echo: bool = False
    automatic: bool = False
    ext: Mapping[str, Any] = {}


class Remark(Fact, frozen=True, kw_only=True):
    """What is said of a message that is there already. `target` is the provider's id of that message.

    Core finds out which one it is: one that was sent through us, else one that the customer wrote, where `target` was
    the `key` of its `Received`. `sender` is the customer's address; with `echo` it was one of us, in the channel's own
    app, in the conversation with that customer.
    """

    sender: str
    target: str
    assurance: Assurance = "channel"
    name: str | None = None
    echo: bool = False


class Reaction(Remark, frozen=True, kw_only=True, tag="reaction"):
    """An emoji on a message; None where all of that person's are taken back."""

    emoji: str | None
    action: Literal["added", "removed"] = "added"


class Edited(Remark, frozen=True, kw_only=True, tag="edited"):
    """The message now says this. `media` as in `Received`."""

    parts: tuple[AnyPart, ...]
    media: Mapping[str, str] = {}


class Deleted(Remark, frozen=True, kw_only=True, tag="deleted"):
    """The message was withdrawn."""


class Seen(Remark, frozen=True, kw_only=True, tag="seen"):
    """The customer saw all of ours up to this message; without `target`, up to `occurred_at`.

    Where the provider tells it of every message, give a `Receipt` with the status read instead.
    """

    target: str = ""


class Receipt(Fact, frozen=True, kw_only=True, tag="receipt"):
    """What became of a message that we sent; `status` is a word of the contract. Order need not hold."""

    external_id: str
    status: str
    error: Error | None = None
    price: Price | None = None
    segments: int | None = None
    ext: Mapping[str, Any] = {}


class CallStep(Fact, frozen=True, kw_only=True, tag="call"):
    """How a call went on; `step` is a word of the contract's `CallStep`. `at` is our number.

    `call_id` is a UUID: the one that was dialled for, or for somebody who calls us one that the gateway makes of the
    provider's id, always the same. `external_id` is the provider's id of the leg, `address` the other party's.
    `assurance` says how well a caller's number is proven: asserted unless the network vouches for it. `recording` is
    what `MediaFetcher.locate` needs to find the recording, `skill` what agents must have whom a caller waits for.
    """

    call_id: str
    step: str
    leg: str = ""
    attempt: int = 0
    external_id: str | None = None
    address: str | None = None
    assurance: Assurance = "asserted"
    name: str | None = None
    duration_ms: int | None = None
    recording: str | None = None
    skill: str | None = None
    error: Error | None = None


class Consent(Fact, frozen=True, kw_only=True, tag="consent"):
    """A customer said stop or start: `state` is revoked or granted, `method` says how, `evidence` what they did."""

    address: str
    state: str
    purpose: str = "all"
    method: str = "keyword"
    evidence: str | None = None


class Unreadable(Fact, frozen=True, kw_only=True, tag="unreadable"):
    """One entry of a delivery that can't be read; it is parked with `raw`, and spoils only itself."""

    raw: bytes
    why: str


AnyFact: TypeAlias = Received | Reaction | Edited | Deleted | Seen | Receipt | Consent | CallStep | Unreadable


class Intake(Struct, frozen=True, kw_only=True):
    """What a delivery came to: facts, in order, and the reply that the provider wants once they are stored.

    `discarded` says that it was understood and is not wanted, as spam is: that is counted.
    """

    facts: tuple[AnyFact, ...] = ()
    reply: Response = Response()
    discarded: bool = False
