"""Answers to `ask.conversation` and `ask.contact`, from the records. They lag behind the stream by moments.

Changes nothing, and listens nowhere: whoever holds the subjects calls it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

from sluiceway_contracts import (
    ContactAnswer,
    ContactQuestion,
    ContactState,
    ConversationQuestion,
    ConversationState,
    Error,
    InvalidAddress,
    Unanswered,
    addresses,
    is_uuid,
)

from .bus.link import Link
from .bus.store import Bucket
from .errors import Unavailable

T = TypeVar("T", bound=msgspec.Struct)

Answer = Callable[[str, bytes], Awaitable[bytes]]
"""From a tenant and what was asked to what is answered, both JSON."""

LONGEST_CHAIN = 100
"""Merges of merges that are followed; there is no reason for more."""


class Owners(Protocol):
    """Who knows whose an address is."""

    async def owner(self, tenant: str, address: str) -> str | None:
        """The contact of an address; None where it is nobody's. Raises `Unavailable`."""


class _NoAnswerError(Exception):
    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.error = Error(code=code, message=message, retryable=retryable)


class Answers:
    """Reads the records of every tenant."""

    def __init__(self, link: Link, bucket: str, owners: Owners) -> None:
        self._conversations = Bucket(link, bucket, ConversationState)
        self._contacts = Bucket(link, bucket, ContactState)
        self._owners = owners

    @property
    def asks(self) -> Mapping[str, Answer]:
        """By question."""
        return {"conversation": self.conversation, "contact": self.contact}

    async def conversation(self, tenant: str, payload: bytes) -> bytes:
        """A `ConversationState`, as it is, or `Unanswered`."""
        return await _answered(self._conversation, tenant, payload)

    async def contact(self, tenant: str, payload: bytes) -> bytes:
        """A `ContactAnswer`: who that is now; or `Unanswered`."""
        return await _answered(self._contact, tenant, payload)

    async def _conversation(self, tenant: str, payload: bytes) -> ConversationState:
        id = _id(_read(payload, ConversationQuestion).conversation_id)
        found = await self._conversations.get(f"{tenant}.conversation.{id}")
        if found is None:
            raise _NoAnswerError("not_found", f"there is no conversation {id}")
        return found.value

    async def _contact(self, tenant: str, payload: bytes) -> ContactAnswer:
        question = _read(payload, ContactQuestion)
        if question.contact_id is not None:
            found = await self._record(tenant, _id(question.contact_id))
            if found is None:
                raise _NoAnswerError("not_found", f"there is no contact {question.contact_id}")
        else:
            id = await self._owner(tenant, question.address)
            found = await self._record(tenant, id) or ContactState(id=id)  # its first event is still on the way
        now = await self._now(tenant, found)
        return ContactAnswer(contact=now, ids=tuple(dict.fromkeys([now.id, *now.merged_from, found.id])))

    async def _owner(self, tenant: str, address: str | None) -> str:
        if address is None:
            raise _NoAnswerError("malformed", "say contact_id or address")
        try:
            owner = await self._owners.owner(tenant, addresses.normalise(address))
        except InvalidAddress as error:
            raise _NoAnswerError("malformed", f"this is no address; {error.remedy}") from error
        if owner is None:
            raise _NoAnswerError("not_found", "this address is nobody's")
        return owner

    async def _now(self, tenant: str, contact: ContactState) -> ContactState:
        """Where merges led to."""
        for _ in range(LONGEST_CHAIN):
            found = await self._record(tenant, contact.merged_into) if contact.merged_into is not None else None
            if found is None:
                break
            contact = found
        return contact

    async def _record(self, tenant: str, id: str) -> ContactState | None:
        found = await self._contacts.get(f"{tenant}.contact.{id}")
        return found.value if found is not None else None


async def _answered(work: Callable[[str, bytes], Awaitable[msgspec.Struct]], tenant: str, payload: bytes) -> bytes:
    answer: msgspec.Struct
    try:
        answer = await work(tenant, payload)
    except _NoAnswerError as error:
        answer = Unanswered(error=error.error)
    except Unavailable as error:
        answer = Unanswered(error=Error(code="unavailable", message=str(error), retryable=True))
    return msgspec.json.encode(answer)


def _read(payload: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=type)
    except (ValueError, RecursionError) as error:
        raise _NoAnswerError("malformed", f"this is no question: {error}") from error


def _id(text: str) -> str:
    """An id, which becomes part of a key."""
    if not is_uuid(text):
        raise _NoAnswerError("malformed", "an id is a UUID in lower case")
    return text
