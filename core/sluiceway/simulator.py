"""A provider in miniature, for demonstrations and tests: what it would deliver, and how it would answer. No I/O.

Core runs a simulator behind a real HTTP server; the gateway under test is pointed at it by its base-URL setting.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from typing import Any, ClassVar, Generic, TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from typing_extensions import TypeVar

from .gateway import Account, Settings
from .wire import Request, Response


class Later(Struct, frozen=True):
    """A delivery that the provider makes by itself, `after_s` seconds after its answer.

    `then` says what it delivers because of the response, counted from it; a response that never came is a 502.
    """

    after_s: float
    request: Request
    then: Callable[[Response], tuple[Later, ...]] | None = None


Story: TypeAlias = Generator[Later, Response, None]
"""Deliveries of which each depends on the responses to those before: it yields one, and is sent the response."""


def told(story: Story, response: Response | None = None) -> tuple[Later, ...]:
    """The next delivery of a story, from which the rest follows; none where it has ended."""
    try:
        later = next(story) if response is None else story.send(response)
    except StopIteration:
        return ()
    return (replace(later, then=lambda response: told(story, response)),)


class Posted(Struct, frozen=True):
    """A mail on its way to where a gateway listens (host:port): who sends it to whom, and all of it."""

    listen: str
    sender: str
    recipient: str
    raw: bytes


class Answer(Struct, frozen=True):
    """What the provider answers, and what it delivers afterwards, in order."""

    response: Response
    later: tuple[Later, ...] = ()


C = TypeVar("C", bound=Settings)
A = TypeVar("A", bound=Account, default=Account)


class Simulator(ABC, Generic[C, A]):
    """One provider, as one connection sees it. `hook_url` is the gateway's public hook, `settings` its credentials."""

    channel: ClassVar[str]
    takes_fields: ClassVar[bool] = False
    """Whether `deliver` adds `fields`."""
    needs_text: ClassVar[bool] = True
    """Whether a customer has something to write: callers have not."""

    def __init__(self, settings: C, hook_url: str) -> None:
        self.settings = settings
        self.hook_url = hook_url
        self.fields: Mapping[str, str] = {}
        """What else the delivery is to say, by the names that the gateway uses."""

    @abstractmethod
    def deliver(self, account: A, sender: str, text: str) -> Request:
        """The provider's signed delivery of a customer's text; `sender` is as the customer's device would write it."""

    def deliveries(self, account: A, sender: str, text: str) -> tuple[Later, ...]:
        """The same with all that follows from it, where that is more, as when somebody calls."""
        return (Later(0.0, self.deliver(account, sender, text)),)

    def post(self, account: A, sender: str, text: str) -> Posted | None:
        """The same by SMTP, where that is how this provider delivers: then `deliver` is not asked."""
        return None

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """The provider's answer to a request of the gateway's."""


AnySimulator = Simulator[Any, Any]
