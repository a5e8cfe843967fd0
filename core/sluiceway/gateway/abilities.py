"""The gateway class, and an abstract class for each thing that it may be able to do. Nothing here does I/O."""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeAlias

from typing_extensions import TypeVar

from sluiceway_contracts import CommandData, Error, StoredFile

from .. import errors as e
from ..wire import Request, Response
from .calls import Ask, Dial
from .capabilities import Capabilities, Fault, Limit, Outcome
from .facts import AnyFact, Intake
from .outbound import Action, Attachment, Outbound, Sent, Wanted
from .settings import Account, Settings

T = TypeVar("T")
C = TypeVar("C", bound=Settings)
A = TypeVar("A", bound=Account, default=Account)

Flow: TypeAlias = Generator[Request, Response, T]
"""A conversation with a provider: it yields requests, is sent their responses, and returns its result.

Core throws `Unreachable`, `Throttled` (HTTP 429) or `Ambiguous` into it where there is no response to send.
"""


Consulting: TypeAlias = Generator[Request | Ask, Any, T]
"""A `Flow` that may ask core as well: it is sent what `Ask` says."""


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
    def receive(self, request: Request) -> Intake | Flow[Intake] | Consulting[Intake]:
        """Read a delivery that `verify` passed. Raises `Malformed`, which parks it with its raw bytes."""

    def limits(self, request: Request) -> tuple[Limit, ...]:
        """How often whoever sent this may; asked after `verify`, for deliveries that anybody can make.

        Over the first that is used up, core answers 429 with Retry-After, and `receive` is not asked.
        """
        return ()

    def answer_headers(self, request: Request) -> Mapping[str, str]:
        """Headers, in lower case, of every answer to this request, core's own refusals too: what a browser needs."""
        return {}


class Collector(Webhook):
    """The provider only tells our hook that something came: it is collected and stored before the answer."""

    def receive(self, request: Request) -> Intake | Flow[Intake]:
        """Core asks `collect` instead. Raises `Malformed`."""
        raise e.Malformed("what this tells of is collected")

    @abstractmethod
    async def collect(self, request: Request, desk: Desk) -> None:
        """Collect what a delivery that `verify` passed tells of, and have it accepted.

        Raises `Malformed`, which parks the delivery, or `Unavailable`: then the provider is to tell it again.
        """


class Actor(ABC):
    """The provider takes reactions, or lets customers know that their messages were seen, or are being answered."""

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


class Caller(ABC):
    """The provider places telephone calls."""

    @abstractmethod
    def dial(self, order: Dial[Any]) -> Flow[str]:
        """Place it; the provider's id. Raises a `SendError`."""

    @abstractmethod
    def find(self, order: Dial[Any]) -> Flow[str | None]:
        """The provider's id of a call that may have been placed, or None where there is none. Raises a `SendError`."""

    @abstractmethod
    def hang_up(self, account: Account, external_id: str) -> Flow[None]:
        """End a call, or do nothing where it has ended. Raises a `SendError`."""


class MediaFetcher(ABC):
    """The provider keeps the files that customers sent, for a while: core fetches and stores them.

    A part that is to be fetched has `state="pending"`, an `id`, and in `Received.media` what `locate` needs.
    """

    @abstractmethod
    def media_hosts(self) -> tuple[str, ...]:
        """Where files may be fetched from, and nowhere else, redirects included.

        A host ("media.provider.example", "*.provider.example" for all below it) is reached by https, and only at
        public addresses. An origin ("https://api.provider.example"), from a base URL of the settings, may be anywhere.
        """

    @abstractmethod
    def locate(self, wanted: Wanted[Any]) -> Flow[Request]:
        """The GET that has the file's bytes. Raises a `SendError`, `Rejected` where the file is gone for good.

        Its `authorization` goes to the first host alone.
        """


class MediaUploader(ABC):
    """The provider takes files before the message that names them; others are given a link to fetch them from."""

    uploads_last_s: ClassVar[int] = 86_400
    """So long the provider keeps what was uploaded: core uses it again."""

    @abstractmethod
    def upload(self, attachment: Attachment[Any]) -> Flow[str]:
        """The provider's id of the file (`Outbound.media`). May be asked twice. Raises a `SendError`."""


class Files(Protocol):
    """Where the stored files are that messages name."""

    async def open(self, ref: str) -> AsyncIterator[bytes]:
        """A file's bytes. Raises `Rejected` where it is gone, `Unreachable` where it can't be read now."""


class Deliverer(ABC):
    """The provider takes messages by a protocol that is not HTTP, such as SMTP."""

    @abstractmethod
    async def deliver(self, message: Outbound[Any], files: Files) -> Sent:
        """Send exactly one message. Raises a `SendError`."""

    async def close(self) -> None:
        """Let connections go."""
        return


class Desk(Protocol):
    """What core does for a `Listener` or a `Collector`."""

    def account(self, identity: str) -> Account | None:
        """The account that the provider calls so."""

    async def accept(self, *facts: AnyFact) -> None:
        """Return when they are stored, in order. Raises `Unavailable` where they can't be now."""

    async def keep(self, at: str, path: str, mime: str) -> StoredFile:
        """Store a file for the account `at`. Raises `Unavailable`, or `MediaError` where it can't ever be kept."""

    async def fetch(self, request: Request, hosts: tuple[str, ...], path: str) -> None:
        """Write what a GET has into a file, of at most `FETCHED_BYTES`; `hosts` as `MediaFetcher.media_hosts`.

        Raises `Unavailable` where the same may work later, else `Rejected`, whose code is the HTTP status.
        """

    async def isolated(self, function: str, *arguments: str) -> bytes:
        """What "package.module:function" returns, as JSON, from a process that may be killed. Raises `Malformed`."""

    async def cursor(self) -> bytes:
        """What was last given to `move`, whichever process did; empty at first. Raises `Unavailable`."""

    async def move(self, cursor: bytes) -> None:
        """Remember how far was read, after all before it was accepted. Raises `Unavailable`."""

    def let_in(self, yes: bool) -> None:
        """Tell whether the provider takes our login; the metrics say so."""


class Listener(ABC):
    """We are delivered to, or wait for deliveries, by a protocol that is not HTTP, such as SMTP or IMAP."""

    exclusive: ClassVar[bool] = False
    """Of several processes one listens at a time; it is cancelled where another has taken over."""

    @abstractmethod
    async def listen(self, desk: Desk) -> None:
        """Until cancelled. An `Unavailable` is the sender's to try again, or this method's."""
