"""Questions and their answers: NATS request and reply on `<prefix>.v1.<tenant>.ask.<question>`, in plain JSON.

An answer with an `error` has nothing else in it. Nothing here asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from .events import Error
from .values import AddressUri, Base, Channel, Id


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


class Ask(NamedTuple):
    """A question and its answer."""

    question: type[Question]
    answer: type[Answer]


ASKS: Mapping[str, Ask] = {ask.question.name: ask for ask in (Ask(CanSend, CanSendAnswer),)}
"""The questions of this version, by the last token of their subject."""
