"""All that the stream and the records have of one person, gathered for who asks for it. Looks into no spool or log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sluiceway_contracts import ContactAnswer, ContactState, ConversationState, now
from sluiceway_contracts.values import Time

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Core


class Dossier(msgspec.Struct):
    """One person, under all their contact ids; events as they are on the stream, in its order."""

    tenant: str
    exported_at: Time
    ids: tuple[str, ...]
    contacts: list[ContactState]
    conversations: list[ConversationState]
    events: list[msgspec.Raw]


async def dossier(link: Link, core: Core, tenant: str, answer: ContactAnswer) -> Dossier:
    """Read it. Raises `ReaderError` or `Unavailable`."""
    from ..bus.reader import Reader
    from ..bus.store import Bucket
    from ..bus.streams import Layout

    layout = Layout(core.nats)
    reader = Reader(link, layout.events)
    events: dict[int, bytes] = {}
    talks = dict.fromkeys(answer.contact.conversations)
    for id in answer.ids:
        subject = f"{core.nats.prefix}.v1.{tenant}.events.*.*.*.{id}.*"
        async for stored in reader.messages(subject, "all", follow=False):
            events[stored.sequence] = stored.data
            talks[stored.subject.rpartition(".")[2]] = None
    contacts = Bucket(link, layout.state, ContactState)
    conversations = Bucket(link, layout.state, ConversationState)
    people = [await contacts.get(f"{tenant}.contact.{id}") for id in answer.ids]
    found = [await conversations.get(f"{tenant}.conversation.{id}") for id in talks if id != "_"]
    return Dossier(
        tenant=tenant,
        exported_at=now(),
        ids=answer.ids,
        contacts=[entry.value for entry in people if entry is not None],
        conversations=[entry.value for entry in found if entry is not None and entry.value.contact in answer.ids],
        events=[msgspec.Raw(_json(data)) for _, data in sorted(events.items())],
    )


def _json(data: bytes) -> bytes:
    """The event; as a string where it is no JSON."""
    try:
        msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return msgspec.json.encode(data.decode("utf-8", "replace"))
    return data
