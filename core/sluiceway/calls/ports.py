"""What the queue of calls needs of others, so that a test can be them: where things go, and who people are."""

from __future__ import annotations

import datetime
from typing import Protocol

import msgspec

from .records import Queue
from .room import Number


class Post(Protocol):
    """Where what is decided goes. Each raises `Unavailable`, and done twice is done once."""

    async def event(self, event: msgspec.Raw) -> None: ...

    async def command(self, command: msgspec.Raw) -> None: ...

    async def fetch(self, tenant: str, account: str, fetch: msgspec.Raw) -> None: ...

    async def wake(self, tenant: str, at: datetime.datetime) -> None: ...


class People(Protocol):
    """What is known of customers and accounts. Each raises `Unavailable`."""

    async def number(self, tenant: str, conversation: str | None, address: str | None) -> Number | None:
        """Whom to call: the address, else the one that the conversation's contact has."""

    async def caller(self, tenant: str, account: str, address: str, assurance: str) -> Number:
        """Who calls us, in a conversation."""

    async def account(self, tenant: str) -> str | None:
        """The account that calls are placed from."""

    async def texts_by(self, tenant: str) -> tuple[str, str] | None:
        """Channel and name of the account that texts to telephones go out by."""

    async def is_revoked(self, tenant: str, address: str) -> bool:
        """Whether the address wants no calls."""


class Queues(Protocol):
    """What gateways are to know of queues."""

    async def put(self, key: str, value: Queue) -> object:
        """Raises `Unavailable`."""
