"""Records in KV without the addresses in them: each is written once, beside them, and only named in the record.

A server keeps the bytes of an earlier value of a key until it rewrites the file, and nothing can overwrite them any
more. What is written once and never changed can be overwritten: so a contact's addresses, and what was given as
evidence, are values of their own, `<tenant>.t.<contact>.<key of the text>`, and records have `~<key of the text>`.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .attempts import MessageRecord
from .bus.link import Link
from .bus.store import Bucket, Conflict, Entry
from .cache import Cache
from .contacts import ContactRecord
from .identity import Identity

T = TypeVar("T", bound=Struct)
_contact = msgspec.json.Decoder(ContactRecord)

HIDDEN = frozenset(("address", "addresses", "recipient", "evidence"))
SIGN = "~"
SIZE = 100_000


class TextRecord(Struct, frozen=True):
    """`<tenant>.t.<contact>.<key>`: what a `~<key>` in a record of this contact stands for. Never changed."""

    text: str


class Texts:
    """The texts that records name, in one bucket; those met lately are remembered."""

    def __init__(self, link: Link, bucket: str, identity: Identity) -> None:
        self._identity = identity
        self._bucket = Bucket(link, bucket, TextRecord)
        self._keys: Cache[str, str] = Cache(SIZE)
        self._known: Cache[str, str] = Cache(SIZE)
        self._kept: Cache[str, bool] = Cache(SIZE)

    def key(self, text: str) -> str:
        """The key of a text, which is remembered."""
        key = self._keys.get(text)
        if key is None or self._known.get(key) is None:
            key = self._identity.address_key(text)
            self._keys.put(text, key)
            self._known.put(key, text)
        return key

    def get(self, key: str) -> str | None:
        """The text of a key, if it is remembered."""
        return self._known.get(key)

    async def keep(self, owner: str, keys: Iterable[str]) -> None:
        """Write the texts of these keys where they are not. `owner` is `<tenant>.t.<contact>`. Raises `Unavailable`."""
        await asyncio.gather(*(self._keep(f"{owner}.{key}", self._known.get(key)) for key in keys))

    async def find(self, owner: str, keys: Iterable[str]) -> None:
        """Remember the texts of these keys, but of those that were erased. Raises `Unavailable`."""
        await asyncio.gather(*(self._find(owner, key) for key in keys if self._known.get(key) is None))

    async def _keep(self, key: str, text: str | None) -> None:
        if text is None or self._kept.get(key):
            return
        with contextlib.suppress(Conflict):
            await self._bucket.create(key, TextRecord(text))
        self._kept.put(key, True)

    async def _find(self, owner: str, key: str) -> None:
        found = await self._bucket.get(f"{owner}.{key}")
        if found is not None:
            self._known.put(key, found.value.text)
            self._kept.put(f"{owner}.{key}", True)


class Discreet(ABC, Generic[T]):
    """A `Table` of records of one kind."""

    def __init__(self, bucket: Bucket[Any], texts: Texts) -> None:
        self._bucket = bucket
        self._texts = texts

    @abstractmethod
    def hidden(self, record: T) -> tuple[Any, set[str]]:
        """The record as the bucket has it, and the keys of the texts that are not in it."""

    @abstractmethod
    def shown(self, value: Any) -> T:
        """The record, with those of its texts that are remembered; what is not is left out."""

    @abstractmethod
    def named(self, value: Any) -> set[str]:
        """The keys of the texts that a value of the bucket names."""

    @abstractmethod
    def owner(self, name: str, value: Any) -> str:
        """The contact of a value, by its key's last token and itself."""

    async def get(self, key: str) -> Entry[T] | None:
        """The latest value and its revision. Raises `Unavailable`."""
        found = await self._bucket.get(key)
        return await self._revealed(key, found) if found is not None else None

    async def create(self, key: str, value: T) -> int:
        """Write a key that isn't there and return its revision. Raises `Conflict` or `Unavailable`.

        A crash may leave the record without its texts: it is read without those addresses then, as one that has yet to
        learn them.
        """
        hidden, keys = self.hidden(value)
        keeping = asyncio.create_task(self._texts.keep(self._owner(key, hidden), keys))
        try:
            revision = await self._bucket.create(key, hidden)
        except Conflict as conflict:
            found = conflict.found
            raise Conflict(key, await self._revealed(key, found) if found is not None else None) from None
        finally:
            await keeping
        return revision

    async def update(self, key: str, value: T, revision: int) -> int:
        """Write the key if its revision is still this one; return the new one. Raises `Conflict` or `Unavailable`."""
        hidden, keys = self.hidden(value)
        await self._texts.keep(self._owner(key, hidden), keys)
        return await self._bucket.update(key, hidden, revision)

    async def delete(self, key: str, revision: int) -> None:
        """Remove the key if its revision is still this one. Raises `Conflict` or `Unavailable`."""
        await self._bucket.delete(key, revision)

    async def _revealed(self, key: str, found: Entry[Any]) -> Entry[T]:
        named = self.named(found.value)
        if named:
            await self._texts.find(self._owner(key, found.value), named)
        return Entry(self.shown(found.value), found.revision)

    def _owner(self, key: str, value: Any) -> str:
        tenant, _, name = key.split(".", 2)
        return f"{tenant}.t.{self.owner(name, value)}"


class DiscreetContacts(Discreet[ContactRecord]):
    """Contacts: every address in them, wherever it stands, and in the events that are yet to be told."""

    def hidden(self, record: ContactRecord) -> tuple[Any, set[str]]:
        value = msgspec.json.decode(msgspec.json.encode(record))
        hidden = _changed(value, lambda text: f"{SIGN}{self._texts.key(text)}")
        return hidden, _named(hidden)

    def shown(self, value: Any) -> ContactRecord:
        shown = _changed(value, lambda text: self._texts.get(text[1:]) if text.startswith(SIGN) else text)
        return _contact.decode(msgspec.json.encode(shown))

    def named(self, value: Any) -> set[str]:
        return _named(value)

    def owner(self, name: str, value: Any) -> str:
        return name

    def read(self, data: bytes) -> ContactRecord | None:
        """A value as the bucket has it; None where a text in it is not remembered."""
        value = msgspec.json.decode(data)
        if any(self._texts.get(key) is None for key in _named(value)):
            return None
        return self.shown(value)


class DiscreetMessages(Discreet[MessageRecord]):
    """The ledger's records: their recipients. One that was refused has no contact, and no recipients either."""

    def hidden(self, record: MessageRecord) -> tuple[MessageRecord, set[str]]:
        keys = [None if piece.recipient is None else self._texts.key(piece.recipient) for piece in record.pieces]
        if not any(keys):
            return record, set()
        pieces = [
            piece if key is None else replace(piece, recipient=f"{SIGN}{key}")
            for piece, key in zip(record.pieces, keys, strict=True)
        ]
        return replace(record, pieces=tuple(pieces)), {key for key in keys if key is not None}

    def shown(self, value: MessageRecord) -> MessageRecord:
        if not self.named(value):
            return value
        pieces = [
            piece
            if piece.recipient is None or not piece.recipient.startswith(SIGN)
            else replace(piece, recipient=self._texts.get(piece.recipient[1:]))
            for piece in value.pieces
        ]
        return replace(value, pieces=tuple(pieces))

    def named(self, value: MessageRecord) -> set[str]:
        recipients = (piece.recipient for piece in value.pieces)
        return {text[1:] for text in recipients if text is not None and text.startswith(SIGN)}

    def owner(self, name: str, value: MessageRecord) -> str:
        return value.contact or "_"


def _changed(value: Any, change: Callable[[str], str | None], within: bool = False) -> Any:
    """The same with each hidden text changed; what becomes None is left out, and what has no address left too."""
    match value:
        case str():
            return change(value) if within else value
        case list():
            changed = (_changed(item, change, within) for item in value)
            return [item for item in changed if item is not None]
        case dict():
            items = {name: _changed(item, change, name in HIDDEN) for name, item in value.items()}
            return None if value.get("address") is not None and items["address"] is None else items
    return value


def _named(value: Any) -> set[str]:
    found = set[str]()

    def note(text: str) -> str:
        if text.startswith(SIGN):
            found.add(text[1:])
        return text

    _changed(value, note)
    return found
