"""KV buckets: get, list, create, compare-and-set. No watching, no deleting, no cache."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import msgspec

from ..errors import Unavailable
from .link import Link, Refused

T = TypeVar("T", bound=msgspec.Struct)

WRONG_LAST_SEQUENCE = (10071, 10164)
"""nats-server's err_code for a lost compare-and-set (server/errors.json)."""


class Conflict(Exception):
    """Somebody else wrote the key first; read it again."""


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
        self._decoder = msgspec.json.Decoder(type)

    async def get(self, key: str) -> Entry[T] | None:
        """The latest value; None where there is none. Raises `Unavailable`."""
        value, revision = await self.look(key)
        return Entry(value, revision) if value is not None else None

    async def look(self, key: str) -> tuple[T | None, int]:
        """The latest value and the revision to `update`, that of its deletion too. Raises `Unavailable`."""
        subject = self._subject(key)
        message = await self._link.request(self._link.api(f"DIRECT.GET.KV_{self._name}.{subject}"))
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "404":
            return None, 0
        if status is not None or "Nats-Sequence" not in headers:
            raise Unavailable(f"the bucket {self._name} can't be read: {headers.get('Description', 'no such bucket')}")
        revision = int(headers["Nats-Sequence"])
        return None if "KV-Operation" in headers else self._decoder.decode(message.data), revision

    async def keys(self) -> list[str]:
        """Every key, sorted, those too whose value was deleted; none where there is no bucket. Raises `Unavailable`."""
        call = self._link.api(f"STREAM.INFO.KV_{self._name}")
        message = await self._link.request(call, msgspec.json.encode({"subjects_filter": self._subject(">")}))
        if not message.data:
            raise Unavailable("this NATS has no JetStream; start nats-server with --jetstream")
        subjects = msgspec.json.decode(message.data, type=_Info).state.subjects
        return sorted(subject.removeprefix(self._subject("")) for subject in subjects)

    async def create(self, key: str, value: T) -> int:
        """Write a key that isn't there and return its revision. Raises `Conflict` or `Unavailable`."""
        return await self.update(key, value, 0)

    async def update(self, key: str, value: T, revision: int) -> int:
        """Write the key if its revision is still this one; return the new one. Raises `Conflict` or `Unavailable`."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        try:
            ack = await self._link.publish(self._subject(key), msgspec.json.encode(value), headers)
        except Refused as error:
            if error.err_code in WRONG_LAST_SEQUENCE:
                raise Conflict(key) from error
            raise Unavailable(f"the bucket {self._name} refuses: {error}") from error
        return ack.seq

    async def put(self, key: str, value: T) -> int:
        """Write the key, whatever is there. Raises `Unavailable`."""
        try:
            return (await self._link.publish(self._subject(key), msgspec.json.encode(value))).seq
        except Refused as error:
            raise Unavailable(f"the bucket {self._name} refuses: {error}") from error

    def _subject(self, key: str) -> str:
        return f"$KV.{self._name}.{key}"
