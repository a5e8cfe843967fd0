"""Questions and their answers: NATS request and reply on `<prefix>.v1.<tenant>.ask.<question>`, in plain JSON.

An answer with an `error` has nothing else in it. Nothing here asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from .events import Error, Wait
from .values import AddressUri, Base, ByteCount, Channel, Id, MediaRef, Time, Timed


class Question(Base, frozen=True, kw_only=True):
    """What every question derives from; `name` is the last token of its subject."""

    name: ClassVar[str]


class Answer(Base, frozen=True, kw_only=True):
    """What every answer derives from. `error` says why there is none."""

    error: Error | None = None


class CanSend(Question, frozen=True, kw_only=True):
    """On which channels could this conversation's contact be written to now, and why not on the others?"""

    name: ClassVar[str] = "can-send"
    conversation_id: Id


class OpenWay(Base, frozen=True, kw_only=True):
    """A way to the contact: an address, and the account of ours that reaches it."""

    channel: Channel
    account: str
    address: AddressUri


class ClosedWay(Base, frozen=True, kw_only=True):
    """A way that can't be taken now. `code` is for programs, `why` for people.

    `code` is opted_out, window_closed, account_paused, unsupported (the account only receives) or unknown_account
    (no gateway serves it).
    """

    channel: Channel
    account: str
    address: AddressUri
    code: str
    why: str


class CanSendAnswer(Answer, frozen=True, kw_only=True):
    """The ways that are open, the one that the dispatcher would take first, and those that are not."""

    conversation_id: Id | None = None
    contact_id: Id | None = None
    open: tuple[OpenWay, ...] = ()
    closed: tuple[ClosedWay, ...] = ()


class MediaUrl(Question, frozen=True, kw_only=True):
    """Where can this file be read by HTTP, without NATS? Whoever has the address can read it, until it expires.

    `expires_in_s` is from 1 to 604,800 seconds. `file_name` is the file's name for whoever saves it.
    """

    name: ClassVar[str] = "media-url"
    ref: MediaRef
    file_name: str | None = None
    expires_in_s: int = 3600


class MediaUrlAnswer(Answer, Timed, frozen=True, kw_only=True):
    """The address, for GET; ranges (RFC 9110) are served too. `mime` is what the content is, by itself."""

    url: str | None = None
    expires_at: Time | None = None
    mime: str | None = None
    size: ByteCount | None = None


class MediaUpload(Question, frozen=True, kw_only=True):
    """Where can a file be put by HTTP, to be sent? Whoever has the address can put files there, until it expires.

    `expires_in_s` is from 1 to 86,400 seconds.
    """

    name: ClassVar[str] = "media-upload"
    expires_in_s: int = 3600


class MediaUploadAnswer(Answer, Timed, frozen=True, kw_only=True):
    """The address, for PUT with the file as the body; the response's body is a `StoredFile`."""

    url: str | None = None
    expires_at: Time | None = None
    max_bytes: ByteCount | None = None


class CallQueue(Question, frozen=True, kw_only=True):
    """How long would a call wait that is asked for now, or this one that waits already?"""

    name: ClassVar[str] = "call-queue"
    skill: str | None = None
    call_id: Id | None = None


class CallQueueAnswer(Answer, Timed, frozen=True, kw_only=True):
    """`waiting` are in the queue, `agents` could take a call of this skill, `free` of them at once.

    `position` counts from 1; no `wait_ms`, no honest estimate. What is closed opens at `opens_at`.
    """

    is_open: bool | None = None
    opens_at: Time | None = None
    waiting: int = 0
    agents: int = 0
    free: int = 0
    position: int | None = None
    wait_ms: Wait | None = None


class StoredFile(Base, frozen=True, kw_only=True):
    """A file that is stored: `ref` is what a `media` part names, `mime` what the content is, by itself."""

    ref: MediaRef
    mime: str
    size: ByteCount


class Ask(NamedTuple):
    """A question and its answer."""

    question: type[Question]
    answer: type[Answer]


ASKS: Mapping[str, Ask] = {
    ask.question.name: ask
    for ask in (
        Ask(CanSend, CanSendAnswer),
        Ask(MediaUrl, MediaUrlAnswer),
        Ask(MediaUpload, MediaUploadAnswer),
        Ask(CallQueue, CallQueueAnswer),
    )
}
"""The questions of this version, by the last token of their subject."""
