"""What a gateway's author writes against: the gateway, its abilities, the facts it reports. Nothing here does I/O.

A gateway is one channel by one provider, one class. Its methods are handed values and return values; core does all
reading, writing, waiting and retrying. What a gateway can do is what it implements: `Webhook`, `Sender`.
"""

from __future__ import annotations

import datetime
import enum
import typing
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeAlias

from msgspec import Struct
from typing_extensions import TypeVar

from sluiceway_contracts import CommandData, Error, MessageMarkSeen, MessageReact, MessageRef, Price, Referral
from sluiceway_contracts.parts import AnyPart, Choices

from . import errors as e
from .units import Unit
from .wire import Request, Response

T = TypeVar("T")

Assurance: TypeAlias = Literal["asserted", "channel", "verified"]
Purpose: TypeAlias = Literal["address", "message-id", "link"]

Flow: TypeAlias = Generator[Request, Response, T]
"""A conversation with a provider: it yields requests, is sent their responses, and returns its result.

Core throws `Unreachable`, `Throttled` (HTTP 429) or `Ambiguous` into it where there is no response to send.
"""


class Secret:
    """A value that no log shows. `reveal()` gives it to whoever needs it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A connection's settings, as `[connections.<name>]` gives them: derive from it, one field a setting.

    Fields of type `Secret` are read from `env:NAME` or `file:PATH`. Give every base URL of the provider a setting.
    """


class Account(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of our identities, as `[accounts.<name>]` gives it. Derive from it where the provider needs more."""

    connection: str
    tenant: str
    address: str


class Outcome(enum.StrEnum):
    """What a provider's error means for a message; the value is the `code` of the contract's `Error`."""

    RETRY = "throttled"
    REJECTED = "rejected"
    FAILED = "failed"
    OPTED_OUT = "opted_out"
    WINDOW_CLOSED = "window_closed"
    CREDENTIALS = "credentials_refused"


class Fault(Struct, frozen=True):
    """A row of a provider's error table: what the code means for a message, and in words.

    `purpose` is what somebody who opted out wants no more of, a word of `Consent`.
    """

    outcome: Outcome
    text: str
    purpose: str = "all"


class Rate(Struct, frozen=True):
    """At most so many a second, and so many at once after a pause."""

    per_second: float
    burst: int = 1


class Limit(Struct, frozen=True):
    """At most so many deliveries that share this key, such as a client's network; `rate` counts deliveries."""

    key: str
    rate: Rate


class Retries(enum.StrEnum):
    """Whether the provider delivers again what we answered with 503: what it gives up soon, we spool."""

    LONG = "long"
    BRIEF = "brief"


class Menus(Struct, frozen=True, kw_only=True):
    """The choices that a channel can show: how many options, and the lengths of what is written, in characters.

    `buttons` and `rows` are how many of each a message may have, 0 where it can't. `option_id` limits an option's id.
    """

    prompt: int
    option_id: int = 256
    buttons: int = 0
    button_title: int = 0
    rows: int = 0
    row_title: int = 0
    row_description: int = 0

    def form(self, choices: Choices, prompt: str) -> Literal["buttons", "list"] | None:
        """How they can be shown with this prompt; None where only as text."""
        options = choices.options
        told = len({option.id for option in options}) == len({option.title for option in options}) == len(options)
        plain = not choices.multi and all(
            option.kind == "reply"
            and option.title.strip()
            and option.id
            and option.id == option.id.strip()
            and len(option.id) <= self.option_id
            for option in options
        )
        if not (options and told and plain and 0 < len(prompt) <= self.prompt):
            return None
        as_buttons = len(options) <= self.buttons and all(
            len(option.title) <= self.button_title and not option.description for option in options
        )
        if as_buttons and choices.style != "list":
            return "buttons"
        as_rows = len(options) <= self.rows and all(
            len(option.title) <= self.row_title and len(option.description or "") <= self.row_description
            for option in options
        )
        return "list" if as_rows else "buttons" if as_buttons else None


class Capabilities(Struct, frozen=True, kw_only=True):
    """What the channel takes, and how fast.

    `text` limits one message's text, in the provider's own unit; longer ones are cut. `media` maps media types (RFC
    6838; `image/*` covers a family) to the largest size in bytes, `media_count` is how many a message may have.
    `captions` says, by kind of media, how long a text may go with it, where each has its own; without it, text and
    media share a message. `shows` are the types of further parts that are sent as they are, each in a message of its
    own; `menus` the choices. `rate` holds for an account, `recipient_rate` for one of its recipients.
    """

    text: Unit
    media: Mapping[str, int] = {}
    media_count: int = 0
    captions: Mapping[str, Unit] | None = None
    shows: tuple[str, ...] = ()
    menus: Menus | None = None
    rate: Rate | None = None
    recipient_rate: Rate | None = None
    retries: Retries = Retries.LONG


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


class Received(Fact, frozen=True, kw_only=True, tag="received"):
    """A customer wrote. `sender` is an address URI.

    `assurance` says how well it is proven: channel where the provider vouches for it, verified where the customer
    proved it, asserted where anybody could have written it. `also` are further addresses of the sender that the same
    proof covers: they belong to one person from now on. `asserted` are addresses that the sender gave as theirs,
    unproven: they never join two people. `reply_tokens` may admit the message to the conversation that it answers.
    After `reply_window_ends` the provider refuses free text.

    `media` has the provider's own ids of media parts, by part id: core fetches by them, and tells nobody. `reply_to`
    needs the provider's id alone. With `echo` it was not the customer who wrote but one of us, in the channel's own
    app, and `sender` is the customer who got it: what we sent ourselves, by the first of `external_ids`, is left out.
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
    echo: bool = False
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


AnyFact: TypeAlias = Received | Reaction | Edited | Deleted | Seen | Receipt | Consent | Unreadable


class Intake(Struct, frozen=True, kw_only=True):
    """What a delivery came to: facts, in order, and the reply that the provider wants once they are stored.

    `discarded` says that it was understood and is not wanted, as spam is: that is counted.
    """

    facts: tuple[AnyFact, ...] = ()
    reply: Response = Response()
    discarded: bool = False


A = TypeVar("A", bound=Account, default=Account)


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


class Action(Struct, Generic[A], frozen=True, kw_only=True):
    """What is to be done to a message that the provider calls `target`; `recipient` is an address URI."""

    account: A
    recipient: str
    target: str
    command: MessageReact | MessageMarkSeen


class Sent(Struct, frozen=True, kw_only=True):
    """The provider took it. `external_id` is what its receipts will call it."""

    external_id: str
    segments: int | None = None
    price: Price | None = None


C = TypeVar("C", bound=Settings)


class Gateway(ABC, Generic[C, A]):
    """One channel by one provider: `class TwilioSms(Gateway[Connection], Webhook, Sender)`.

    An instance serves one connection. Give the account type too (`Gateway[Connection, Page]`) where accounts have
    settings of their own.
    """

    channel: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]
    """Schemes of the addresses that it sends to and receives from, such as `("tel",)`."""
    capabilities: ClassVar[Capabilities]
    errors: ClassVar[Mapping[str, Fault]] = {}
    """The provider's error codes, as text."""
    max_body_bytes: ClassVar[int] = 1 << 19
    """A larger delivery is answered 413. It must fit into one message of NATS, 1 MiB by default, to be parked."""

    settings_type: ClassVar[type[Settings]]
    account_type: ClassVar[type[Account]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            if typing.get_origin(base) is Gateway:
                arguments = typing.get_args(base)
                cls.settings_type = arguments[0]
                cls.account_type = arguments[1] if len(arguments) > 1 else Account

    def __init__(self, settings: C, hook_url: str = "", accounts: Iterable[A] = ()) -> None:
        """`hook_url` is the public address of the connection's hook, without a trailing slash.

        `accounts` are the connection's; `self.accounts` has them by `identity`, for gateways whose accounts have
        settings of their own. Where two have the same identity it has the last, and core refuses to start.
        """
        self.settings = settings
        self.hook_url = hook_url
        self.accounts: Mapping[str, A] = {self.identity(account): account for account in accounts}

    def identity(self, account: A) -> str:
        """How the provider writes this account in deliveries (`Fact.at`); the address without its scheme, usually."""
        return account.address.partition(":")[2]

    def error(self, provider_code: str, message: str = "") -> Error:
        """The contract's error for a code of the provider's; one that no table knows is a failure."""
        fault = self.errors.get(provider_code) or Fault(Outcome.FAILED, message or "the provider gave no reason")
        return Error(
            code=str(fault.outcome),
            message=fault.text,
            retryable=fault.outcome is Outcome.RETRY,
            provider_code=provider_code,
        )

    def refusal(self, provider_code: str, message: str = "") -> e.SendError:
        """The exception for a request that the provider refused with this code; one that no table knows is final."""
        fault = self.errors.get(provider_code) or Fault(Outcome.REJECTED, message or "the provider gave no reason")
        match fault.outcome:
            case Outcome.RETRY:
                return e.Throttled(fault.text)
            case Outcome.OPTED_OUT:
                return e.OptedOut(fault.text, provider_code)
            case Outcome.WINDOW_CLOSED:
                return e.WindowClosed(fault.text, provider_code)
            case Outcome.CREDENTIALS:
                return e.CredentialsRefused(fault.text, provider_code)
            case Outcome.REJECTED | Outcome.FAILED:
                return e.Rejected(fault.text, provider_code)


class Webhook(ABC):
    """The provider delivers to our hook."""

    methods: ClassVar[frozenset[str]] = frozenset({"POST"})
    accepted: ClassVar[Response] = Response()
    """The reply to a delivery that was put aside, and needs no other."""

    @abstractmethod
    def verify(self, request: Request) -> None:
        """Return if the provider sent it; raise `Unverified` or `Malformed` otherwise."""

    @abstractmethod
    def receive(self, request: Request) -> Intake | Flow[Intake]:
        """Read a delivery that `verify` passed. Raises `Malformed`, which parks it with its raw bytes."""

    def limits(self, request: Request) -> tuple[Limit, ...]:
        """How often whoever sent this may; asked after `verify`, for deliveries that anybody can make.

        Over the first that is used up, core answers 429 with Retry-After, and `receive` is not asked.
        """
        return ()

    def answer_headers(self, request: Request) -> Mapping[str, str]:
        """Headers, in lower case, of every answer to this request, core's own refusals too: what a browser needs."""
        return {}


class Actor(ABC):
    """The provider takes reactions, or lets customers know that their messages were seen."""

    acts: ClassVar[tuple[type[CommandData], ...]]
    """The commands that it can carry out."""

    @abstractmethod
    def act(self, action: Action[Any]) -> Flow[None]:
        """Carry it out, so that twice is the same as once. Raises a `SendError`."""


class Sender(ABC):
    """The provider takes messages by HTTP."""

    @abstractmethod
    def send(self, message: Outbound[Any]) -> Flow[Sent]:
        """Send exactly one message of the provider's. Raises a `SendError`."""
