"""What people decide about contacts and conversations, by commands on the bus; and conversations that fall silent."""

from __future__ import annotations

import datetime

import pytest

from sluiceway import unions
from sluiceway.bus.streams import Layout
from sluiceway.idle import Idle
from sluiceway.placement import Placement
from sluiceway.schedule import Schedule
from sluiceway.stream import EventStream
from sluiceway_contracts import (
    Command,
    ContactLink,
    ContactMerge,
    ContactMerged,
    ContactSplit,
    ContactUnlink,
    ConversationClose,
    ConversationClosed,
    ConversationOpen,
    Event,
)
from sluiceway_contracts.commands import CommandData
from sluiceway_contracts.values import now

from .conftest import ENVIRONMENT, Rig, until

SECRET = ENVIRONMENT["IDENTITY_KEY"].encode()
ANN, BEN = "+447700900456", "+447700900457"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unions, "CROSSING_S", 0)


async def decide(rig: Rig, data: CommandData, about: Event | None = None) -> Command:
    """A command of an agent's to the dispatcher."""
    subject = about.subject if about is not None else None
    command = Command(tenant="acme", subject=subject, actorid="sam", actorrole="agent", data=data)
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())
    return command


async def heard(rig: Rig, words: str, sender: str) -> Event:
    """The event of a text that somebody has just sent."""
    before = len(await rig.events("message.received"))
    assert (await rig.text(words, sender)).status == 200
    return (await rig.until_event("message.received", before + 1))[-1]


async def test_two_contacts_are_merged_and_split_again_and_each_event_names_its_command(rig: Rig) -> None:
    ann, ben = await heard(rig, "Hello", ANN), await heard(rig, "It is me again", BEN)
    merge = await decide(rig, ContactMerge(from_id=str(ann.contactid), into_id=str(ben.contactid), evidence="she said"))
    (merged,) = await rig.until_event("contact.merged")
    assert isinstance(merged.data, ContactMerged)
    assert merged.causationid == merge.id
    assert (merged.data.evidence, merged.data.by and merged.data.by.agent_id) == ("she said", "sam")
    (closed,) = await rig.until_event("conversation.closed")
    assert isinstance(closed.data, ConversationClosed)
    assert (closed.subject, closed.data.reason, closed.data.continued_as) == (ann.subject, "merged", ben.subject)
    assert (await heard(rig, "One of two", ANN)).subject == ben.subject
    split = await decide(rig, ContactSplit(contact_id=str(ben.contactid), undo=str(merged.data.undo)))
    (unmerged,) = await rig.until_event("contact.unmerged")
    assert unmerged.causationid == split.id
    assert (await heard(rig, "Myself", ANN)).contactid == ann.contactid


async def test_an_address_is_linked_and_unlinked(rig: Rig) -> None:
    ann = await heard(rig, "Hello", ANN)
    await decide(rig, ContactLink(contact_id=str(ann.contactid), address=f"tel:{BEN}"))
    await rig.until_event("contact.linked")
    assert (await heard(rig, "From my other number", BEN)).subject == ann.subject
    await decide(rig, ContactUnlink(contact_id=str(ann.contactid), address=f"tel:{BEN}"))
    await rig.until_event("contact.unlinked")
    assert (await heard(rig, "Somebody else has it now", BEN)).contactid != ann.contactid


async def test_a_conversation_is_closed_and_reopened_by_the_customers_next_word(rig: Rig) -> None:
    ann = await heard(rig, "Hello", ANN)
    await decide(rig, ConversationClose(conversation_id=str(ann.subject)), about=ann)
    (closed,) = await rig.until_event("conversation.closed")
    assert closed.subject == ann.subject
    assert (await heard(rig, "One more thing", ANN)).subject == ann.subject
    (reopened,) = await rig.until_event("conversation.reopened")
    assert reopened.subject == ann.subject


async def test_a_conversation_is_opened_with_an_address(rig: Rig) -> None:
    command = await decide(rig, ConversationOpen(address=f"tel:{ANN}"))
    (failed,) = await rig.until_event("command.failed")
    assert failed.causationid == command.id, "two accounts reach it: which one is not ours to choose"


async def test_a_silent_conversation_is_closed_when_its_window_is_over_and_not_before(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await heard(rig, "Hello", ANN)

    async def looks() -> int:
        return sum(b'"reason":"idle"' in data for _, data in await rig.stream("SCHEDULED"))

    async def is_watched() -> bool:
        return await looks() > 0

    await until(is_watched, "the end of its window is scheduled")
    look = ConversationClose(conversation_id=str(ann.subject), reason="idle")
    await decide(rig, look, about=ann)
    await decide(rig, ContactLink(contact_id=str(ann.contactid), address=f"tel:{BEN}"))
    await rig.until_event("contact.linked")
    assert await rig.events("conversation.closed") == []
    monkeypatch.setattr("sluiceway.idle.now", lambda: now() + datetime.timedelta(hours=73))
    await decide(rig, look, about=ann)
    (closed,) = await rig.until_event("conversation.closed")
    assert isinstance(closed.data, ConversationClosed)
    assert (closed.subject, closed.data.reason) == (ann.subject, "idle")


async def test_the_server_brings_the_look_at_a_silent_conversation_when_it_is_time(rig: Rig) -> None:
    ann = await heard(rig, "Hello", ANN)
    prefix, layout = rig.core.nats.prefix, Layout(rig.core.nats)
    placement = Placement(rig.core, SECRET, rig.link, layout, EventStream(rig.link, prefix))
    idle = Idle(Schedule(rig.link, prefix), placement)
    await idle.watch("acme", str(ann.subject), "sms", now() - datetime.timedelta(hours=72))

    async def came() -> bool:
        return any(
            f".any.any.conversation.close.{ann.subject}" in subject for subject, _ in await rig.stream("COMMANDS")
        )

    await until(came, "the server puts it among the commands")
    assert await rig.events("command.failed") == []
    assert await rig.events("conversation.closed") == [], "somebody wrote a moment ago"
