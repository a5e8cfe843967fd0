"""A delivery as core has it: proven, read, not resolved; on its way to the stream, or in the spool as a line of JSON.

Decides nothing about it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from sluiceway_contracts import Error

from .gateway import AnyFact, Edited, Received, Unreadable
from .redact import redact
from .wire import Request

CAUSES = (msgspec.MsgspecError, TypeError, ValueError, RecursionError, OverflowError)
"""What encoding or decoding raises for what no JSON can hold."""


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A delivery, or what of it is still to be stored.

    Without `facts` it is one that could not be read: `unreadable` says why. `redactions` are what was masked before it
    came to disk, by the fact's key. `channel` is the connection's, which may be gone when this comes from there.
    `request` is left out on disk where nothing of it will be parked.
    """

    connection: str
    arrived_at: datetime.datetime
    channel: str = ""
    facts: tuple[AnyFact, ...] = ()
    unreadable: Error | None = None
    redactions: Mapping[str, tuple[str, ...]] = {}
    request: Request | None = None

    def for_disk(self, *, whole: bool) -> Record:
        """Without what may not be stored; with what a replay of the request would need, where it is `whole`."""
        facts: list[AnyFact] = []
        redactions = dict(self.redactions)
        for fact in self.facts:
            kept = fact
            if isinstance(fact, Received):
                kept, masked = redact(fact)
                redactions |= {fact.key: masked} if masked else {}
            elif isinstance(fact, Edited):
                kept, _ = redact(fact)
            try:
                _facts.decode(msgspec.json.encode(kept))
            except CAUSES:
                kept = self._unreadable(fact)
            facts.append(kept)
        request = _bare(self.request) if whole and self.request is not None else None
        return msgspec.structs.replace(self, facts=tuple(facts), redactions=redactions, request=request)

    def encode(self) -> bytes:
        """One line of JSON."""
        return msgspec.json.encode(self) + b"\n"

    def _unreadable(self, fact: AnyFact) -> Unreadable:
        raw = self.request.body if self.request is not None else b""
        return Unreadable(
            at=_plain(fact.at), key=_plain(fact.key), raw=raw, why="no JSON can hold what the gateway read"
        )


_facts: msgspec.json.Decoder[AnyFact] = msgspec.json.Decoder(AnyFact)
_records = msgspec.json.Decoder(Record)


def decode(line: bytes) -> Record | None:
    """What `encode` made; None for anything else."""
    try:
        return _records.decode(line)
    except CAUSES:
        return None


def _bare(request: Request) -> Request:
    """Never the query or other headers, which may hold secrets."""
    return Request(
        method=_plain(request.method),
        url=_plain(request.url).partition("?")[0],
        headers={"content-type": _plain(request.headers.get("content-type", ""))},
        body=request.body,
        subpath=_plain(request.subpath).partition("?")[0],
    )


def _plain(text: str) -> str:
    return str(text).encode("utf-8", "replace").decode()
