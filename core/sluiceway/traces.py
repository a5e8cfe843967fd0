"""What there is of a person: contacts, conversations, addresses; and how to tell whether a text speaks of them.

Reads only.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from sluiceway_contracts.values import Time

from .contacts import ContactRecord
from .directory import Directory
from .spellings import canonical, variants

MIN_NEEDLE_CHARS = 6
"""What is shorter is found in too much that is somebody else's."""
NAMING = frozenset(
    ("to", "cc", "address", "addresses", "contact_id", "from_id", "into_id", "candidate_id", "conversation_id")
)
"""The fields of a command's data that say whom it is about."""


class Traces(Struct, frozen=True, kw_only=True):
    """`<tenant>.w.<contact>`: what an erasure that has begun is to erase, until it is done.

    `others` are addresses that the contacts gave as theirs and that are somebody else's.
    """

    erased_at: Time
    contacts: tuple[str, ...]
    conversations: tuple[str, ...]
    addresses: tuple[str, ...]
    others: tuple[str, ...] = ()


async def trace(directory: Directory, tenant: str, contact: str, at: datetime.datetime) -> Traces | None:
    """Everything that the records of a contact lead to; None where there is none. Raises `Unavailable`.

    A merge that was taken back leads nowhere: the other is a person of their own.
    """
    contacts: dict[str, None] = {}
    conversations, addresses = set[str](), set[str]()
    ahead = [contact]
    while ahead:
        contact = ahead.pop()
        record = None if contact in contacts else await directory.reread(tenant, contact)
        if record is None:
            continue
        contacts[contact] = None
        ahead += [merge.contact for merge in record.merges if not merge.undone]
        ahead += [record.merged_into] if record.merged_into is not None else []
        conversations |= _conversations(record)
        addresses |= _addresses(record)
    if not contacts:
        return None
    return Traces(
        erased_at=at,
        contacts=tuple(contacts),
        conversations=tuple(sorted(conversations)),
        addresses=tuple(sorted(addresses)),
    )


def _conversations(record: ContactRecord) -> set[str]:
    merged = [merge for merge in record.merges if not merge.undone]
    return {record.conversation, *(merge.ours for merge in record.merges), *(merge.theirs for merge in merged)}


def _addresses(record: ContactRecord) -> set[str]:
    """Its own, and those of whoever was joined to it and was not taken from it again."""
    merged = [known for merge in record.merges if not merge.undone for known in merge.addresses]
    known = [*record.addresses, *(record.own.addresses if record.own is not None else ()), *merged]
    return {one.address for one in known} | {reach.address for reach in record.reaches}


class Needles:
    """Tells whether something speaks of these contacts, conversations and addresses."""

    def __init__(self, ids: Iterable[str], addresses: Iterable[str]) -> None:
        self._ids = frozenset(ids)
        self._addresses = frozenset(canonical(address) for address in addresses)
        words = {word for address in self._addresses for spelling in variants(address) for word in _words(spelling)}
        patterns = [re.escape(word) for word in sorted({*words, *self._ids})]
        self._pattern = re.compile(rf"(?<![0-9a-z])(?:{'|'.join(patterns)})(?![0-9a-z])".encode(), re.IGNORECASE)

    def in_bytes(self, data: bytes) -> bool:
        """Whether an id or an address stands in it, as it is or percent-encoded."""
        return any(self._pattern.search(text) for text in (data, unquote_to_bytes(data.replace(b"+", b" "))))

    def in_command(self, data: bytes) -> bool:
        """Whether a command is about the person, whatever its text says; one that can't be read by its bytes."""
        try:
            command = msgspec.json.decode(data, type=dict[str, Any])
        except (ValueError, RecursionError):
            return self.in_bytes(data)
        if command.get("type") == "sluiceway.contact.erase":
            return False
        named = [command.get("subject"), command.get("contactid")]
        body = command.get("data")
        for field, value in body.items() if isinstance(body, dict) else ():
            named += (value if isinstance(value, list) else [value]) if field in NAMING else ()
        return any(self._is_ours(name) for name in named if isinstance(name, str))

    def _is_ours(self, name: str) -> bool:
        return name in self._ids or canonical(name) in self._addresses


def _words(address: str) -> list[str]:
    """What of an address a provider's delivery holds: rarely its scheme, for numbers never a sign that is sure."""
    word = address.partition(":")[2].rpartition("/")[2].lstrip("+")
    return [word] if len(word) >= MIN_NEEDLE_CHARS else []
