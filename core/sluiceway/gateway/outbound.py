"""What a gateway is asked to send or do, and what it answers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Generic

from msgspec import Struct
from typing_extensions import TypeVar

from sluiceway_contracts import EmailThread, MessageMarkSeen, MessageReact, MessageRef, Price, TypingSet
from sluiceway_contracts.parts import AnyPart

from ..wire import File
from .settings import Account

A = TypeVar("A", bound=Account, default=Account)


class Letter(Struct, frozen=True, kw_only=True):
    """What a letter has besides its parts, for channels with `Capabilities.letters`.

    `thread` is what it answers: its own msg-id is the gateway's to make, the same each time. `reply_token` goes into
    the address that answers are sent to, and admits them to the conversation. `written_at` is the command's time.
    `automatic` says that no person wrote it (RFC 3834).
    """

    reply_token: str
    written_at: datetime.datetime
    subject: str | None = None
    thread: EmailThread = EmailThread()
    automatic: bool = False


class Outbound(Struct, Generic[A], frozen=True, kw_only=True):
    """One message of the provider's to send: piece `piece` (from 1) of message `message_id`.

    `recipient` is an address URI; `account` is the one to send from. `media` has the provider's ids of media that were
    uploaded to it before, by part id.
    """

    message_id: str
    account: A
    recipient: str
    parts: tuple[AnyPart, ...]
    piece: int = 1
    reply_to: MessageRef | None = None
    media: Mapping[str, str] = {}
    letter: Letter | None = None


class Action(Struct, Generic[A], frozen=True, kw_only=True):
    """What is to be done to a message that the provider calls `target`; `recipient` is an address URI.

    For `TypingSet` that is the customer's last message, which somebody is answering now.
    """

    account: A
    recipient: str
    target: str
    command: MessageReact | MessageMarkSeen | TypingSet


class Sent(Struct, frozen=True, kw_only=True):
    """The provider took it. `external_id` is what its receipts will call it."""

    external_id: str
    segments: int | None = None
    price: Price | None = None


class Wanted(Struct, Generic[A], frozen=True, kw_only=True):
    """A file that a customer sent to `account`. `reference` is what `Received.media` has for it; the rest was said."""

    account: A
    reference: str
    kind: str
    mime: str


class Attachment(Struct, Generic[A], frozen=True, kw_only=True):
    """A stored file that the provider is to have, so that messages from `account` can name it."""

    account: A
    file: File
