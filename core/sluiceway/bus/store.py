"""KV buckets: get, list, create, compare-and-set, delete. No watching, no cache."""

from __future__ import annotations

import datetime
import re
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from nats.aio.msg import Msg

from ..errors import Unavailable
from .link import Link, Refused

T = TypeVar("T")

WRONG_LAST_SEQUENCE = (10071, 10164)
"""nats-server's err_code for a lost compare-and-set (server/errors.json)."""
_DELETED, _EXPECTED, _SEQUENCE = "KV-Operation", "Nats-Expected-Last-Subject-Sequence", "Nats-Sequence"
_WRITTEN = "Nats-Time-Stamp"
"""https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md"""
_KEY = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
"""The server would take a `*` or `>` in what is read for any key, and answers nothing where a token is empty."""


class Conflict(Exception):
    """Somebody else wrote the key first; read it again. `found` is what `create` found in its place."""

    def __init__(self, key: str, found: Entry[Any] | None = None) -> None:
        super().__init__(key)
        self.found = found


class Entry(NamedTuple, Generic[T]):
    """A value and the revision that a later `update` must name."""

    value: T
    revision: int


class _State(msgspec.Struct):
    subjects: dict[str, int] = {}


class _Info(msgspec.Struct):
    state: _State = msgspec.field(default_factory=_State)


class Bucket(Generic[T]):
    """One kind of record in a bucket, as JSON."""

    def __init__(self, link: Link, name: str, type: type[T]) -> None:
        self._link = link
        self._name = name
        self._start = f"$KV.{name}."
        self._decoder = msgspec.json.Decoder(type)

    async def get(self, key: str) -> Entry[T] | None:
        """The latest value; None where there is none. Raises `Unavailable`."""
        return self._entry(await self._last(key))

    async def written_at(self, key: str) -> datetime.datetime | None:
        """When the key was written last, by the server's clock; None where it never was. Raises `Unavailable`."""
        message = await self._last(key)
        return datetime.datetime.fromisoformat((message.headers or {})[_WRITTEN]) if message is not None else None

    async def look(self, key: str) -> tuple[T | None, int]:
        """The latest value, and the revision to `update`, that of its deletion too. Raises `Unavailable`."""
        message = await self._last(key)
        entry = self._entry(message)
        revision = int((message.headers or {})[_SEQUENCE]) if message is not None else 0
        return entry.value if entry is not None else None, revision

    async def keys(self, start: str = "") -> list[str]:
        """Every key that begins with these whole tokens, sorted, those too whose value was deleted.

        None where there is no bucket. Raises `Unavailable`.
        """
        call = self._link.api(f"STREAM.INFO.KV_{self._name}")
        message = await self._link.request(call, msgspec.json.encode({"subjects_filter": f"{self._start}{start}>"}))
        if not message.data:
            raise Unavailable("this NATS has no JetStream; start nats-server with --jetstream")
        subjects = msgspec.json.decode(message.data, type=_Info).state.subjects
        return sorted(subject.removeprefix(self._start) for subject in subjects)

    async def create(self, key: str, value: T) -> int:
        """Write a key that isn't there, or was deleted; return its revision. Raises `Conflict` or `Unavailable`."""
        try:
            return await self.update(key, value, 0)
        except Conflict:
            message = await self._last(key)
            headers = (message.headers if message is not None else None) or {}
            if _DELETED in headers:
                return await self.update(key, value, int(headers[_SEQUENCE]))
            raise Conflict(key, self._entry(message)) from None

    async def update(self, key: str, value: T, revision: int) -> int:
        """Write the key if its revision is still this one; return the new one. Raises `Conflict` or `Unavailable`."""
        return await self._write(key, msgspec.json.encode(value), {_EXPECTED: str(revision)})

    async def put(self, key: str, value: T, ttl_s: int | None = None) -> int:
        """Write the key, whatever is there; for so long, where the bucket allows it. Raises `Unavailable`."""
        return await self._write(key, msgspec.json.encode(value), _lasting(ttl_s))

    async def mark_deleted(self, key: str, ttl_s: int) -> None:
        """Tell whoever follows the bucket that the key is gone; the telling expires. Raises `Unavailable`."""
        await self._write(key, b"", {_DELETED: "DEL", **_lasting(ttl_s)})

    async def delete(self, key: str, revision: int) -> None:
        """Delete the key if its revision is still this one. Raises `Conflict` or `Unavailable`."""
        await self._write(key, b"", {_DELETED: "DEL", _EXPECTED: str(revision)})

    async def _write(self, key: str, payload: bytes, headers: dict[str, str]) -> int:
        try:
            ack = await self._link.publish(self._subject(key), payload, headers)
        except Refused as error:
            if error.err_code in WRONG_LAST_SEQUENCE:
                raise Conflict(key) from error
            raise Unavailable(f"the bucket {self._name} refuses: {error}") from error
        return ack.seq

    def _entry(self, message: Msg | None) -> Entry[T] | None:
        if message is None or message.headers is None or _DELETED in message.headers:
            return None
        return Entry(self._decoder.decode(message.data), int(message.headers[_SEQUENCE]))

    async def _last(self, key: str) -> Msg | None:
        """What was written last, a deletion too; None where there is nothing. Raises `Unavailable`."""
        message = await self._link.request(self._link.api(f"DIRECT.GET.KV_{self._name}.{self._subject(key)}"))
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "404":
            return None
        if status is not None or _SEQUENCE not in headers:
            raise Unavailable(f"the bucket {self._name} can't be read: {headers.get('Description', 'no such bucket')}")
        return message

    def _subject(self, key: str) -> str:
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"{key!r} is no key")
        return f"{self._start}{key}"


def _lasting(ttl_s: int | None) -> dict[str, str]:
    """https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-43.md"""
    return {} if ttl_s is None else {"Nats-TTL": f"{ttl_s}s"}
