"""Where in the streams something of a person lies: read through, nothing changed.

What carries a contact or a conversation in its subject is asked for by subject. Commands to an address, dead letters
and what was told of either are found by reading all that the tenant has of them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from sluiceway_contracts import (
    CommandFailed,
    ErrorDeadLetter,
    Event,
    MessageReceived,
    MessageSent,
    MessageStatus,
    Undecodable,
    subjects,
)

from .bus.link import Link
from .bus.reader import Reader, Stored
from .bus.streams import Layout
from .traces import Needles, Traces

NOBODYS = "_"
"""The tenant of dead letters of which nobody knows whose they are."""
ERASED = "contact.erased"
_REF = re.compile(rb'"ref"\s*:\s*"media:([A-Za-z0-9_-]{1,64})\\?/([0-9a-f]{64})"')
"""A slash may be escaped in JSON, and some languages do."""


class Spot(NamedTuple):
    """A message of a stream, and the command that it is or tells of; `letter` is an account and a letter's msg-id."""

    stream: str
    sequence: int
    message_id: str | None = None
    command_id: str | None = None
    refs: frozenset[str] = frozenset()
    letter: tuple[str, str] | None = None


class _Data(Struct):
    message_id: str | None = None


class _Head(Struct):
    id: str | None = None
    data: _Data = msgspec.field(default_factory=_Data)


class Remains:
    """Looks for one person of one tenant."""

    def __init__(self, link: Link, layout: Layout, prefix: str, tenant: str, traces: Traces) -> None:
        self._link = link
        self._layout = layout
        self._start = f"{prefix}.{subjects.VERSION}"
        self._tenant = tenant
        self._traces = traces
        self._needles = Needles((*traces.contacts, *traces.conversations), traces.addresses)

    async def commands(self) -> list[Spot]:
        """Commands about the person: waiting for their time, come due, or taken in. Raises `Unavailable`."""
        scheduled, found = self._layout.scheduled, list[Spot]()
        for stream, room in ((scheduled, "scheduled"), (scheduled, "due"), (self._layout.commands, "commands")):
            async for stored in self._read(stream, f"{self._tenant}.{room}.>"):
                if self._needles.in_command(stored.data):
                    found.append(_command(stream, stored))
        return found

    async def letters(self) -> list[Spot]:
        """Dead letters in which an id or an address of the person stands. Raises `Unavailable`."""
        return [
            Spot(self._layout.dead, stored.sequence)
            for tenant in (self._tenant, NOBODYS)
            async for stored in self._read(self._layout.dead, f"{tenant}.dead.>")
            if self._needles.in_bytes(stored.data)
        ]

    async def events(self) -> list[Spot]:
        """Events of the contacts and conversations, but that they were erased. Raises `Unavailable`."""
        contacts = [f"*.*.*.{contact}.*" for contact in self._traces.contacts]
        wanted = [*contacts, *(f"*.*.*.*.{conversation}" for conversation in self._traces.conversations)]
        found: dict[int, Spot] = {}
        for subject in wanted:
            async for stored in self._read(self._layout.events, f"{self._tenant}.events.{subject}"):
                if f".events.{ERASED}." not in stored.subject:
                    found[stored.sequence] = _event(self._layout.events, stored)
        return list(found.values())

    async def fetches(self) -> list[Spot]:
        """Files of theirs that are still to be fetched. Raises `Unavailable`."""
        return [
            Spot(self._layout.fetches, stored.sequence)
            async for stored in self._read(self._layout.fetches, f"{self._tenant}.fetches.>")
            if self._needles.in_bytes(stored.data)
        ]

    async def nobody_elses(self, refs: Collection[str]) -> set[str]:
        """Those of these files that no message or command of anybody else names. Raises `Unavailable`."""
        left, layout = set(refs), self._layout
        rooms = ((layout.events, "events.message.media"), (layout.events, "events.message.sent"))
        for stream, room in (*rooms, (layout.commands, "commands"), (layout.scheduled, "scheduled")):
            if left:
                async for stored in self._read(stream, f"{self._tenant}.{room}.>"):
                    if not self._is_about_the_person(stored):
                        left -= {ref for ref in left if ref.rpartition("/")[2].encode() in stored.data}
        return left

    def _is_about_the_person(self, stored: Stored) -> bool:
        if ".events." not in stored.subject:
            return self._needles.in_command(stored.data)
        *_, contact, conversation = stored.subject.split(".")
        return contact in self._traces.contacts or conversation in self._traces.conversations

    async def echoes(self, commands: Iterable[Spot], letters: Iterable[Spot]) -> list[Spot]:
        """Events that tell of these commands and dead letters, and may quote them. Raises `Unavailable`."""
        ids, sequences = {spot.command_id for spot in commands} - {None}, {spot.sequence for spot in letters}
        found = []
        for tenant in (self._tenant, NOBODYS):
            for type in ("command.failed", "error.dead_letter", "account.unknown"):
                async for stored in self._read(self._layout.events, f"{tenant}.events.{type}.>"):
                    if self._tells_of(stored.data, ids, sequences):
                        found.append(Spot(self._layout.events, stored.sequence))
        return found

    async def conversations(self) -> set[str]:
        """The conversations that the stream of events knows for the contacts. Raises `Unavailable`."""
        found = set()
        for contact in self._traces.contacts:
            async for stored in self._read(self._layout.events, f"{self._tenant}.events.*.*.*.{contact}.*"):
                found.add(stored.subject.rpartition(".")[2])
        return found - {subjects.ABSENT}

    def _tells_of(self, data: bytes, ids: set[str | None], sequences: set[int]) -> bool:
        if self._needles.in_bytes(data):
            return True
        try:
            told = Event.decode(data).data
        except Undecodable:
            return False
        command = told.command_id if isinstance(told, (CommandFailed, ErrorDeadLetter)) else None
        return command in ids or getattr(told, "sequence", None) in sequences

    async def _read(self, stream: str, subject: str) -> AsyncIterator[Stored]:
        async for stored in Reader(self._link, stream).messages(f"{self._start}.{subject}", "all", follow=False):
            yield stored


def _event(stream: str, stored: Stored) -> Spot:
    """With the id of the message of ours that it tells of."""
    spot = Spot(stream, stored.sequence, refs=_refs(stored.data))
    try:
        event = Event.decode(stored.data)
    except Undecodable:
        return spot
    match told := event.data:
        case MessageSent():
            return spot._replace(message_id=told.message.id)
        case MessageReceived(message=message) if message.thread is not None and message.thread.message_id is not None:
            return spot._replace(letter=(event.account or "", message.thread.message_id))
        case MessageStatus():
            return spot._replace(message_id=told.message_id)
    return spot


def _refs(data: bytes) -> frozenset[str]:
    """The files that an event or a command names, as fields: what somebody wrote has other quotes around it."""
    return frozenset(f"media:{tenant.decode()}/{digest.decode()}" for tenant, digest in _REF.findall(data))


def _command(stream: str, stored: Stored) -> Spot:
    try:
        head = msgspec.json.decode(stored.data, type=_Head)
    except (ValueError, RecursionError):
        head = _Head()
    return Spot(stream, stored.sequence, head.data.message_id, head.id, _refs(stored.data))
