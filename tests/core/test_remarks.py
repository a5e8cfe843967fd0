"""What is said of messages that are there already: reactions, edits, deletions; and what one of us wrote past us."""

from __future__ import annotations

from typing import Any

import pytest

from sluiceway import Deleted, Edited, Intake, Reaction, Receipt, Received, Response, Seen
from sluiceway.gateway import AnyFact
from sluiceway_contracts import (
    Choice,
    Event,
    MessageDeleted,
    MessageEdited,
    MessageReaction,
    MessageReceived,
    MessageRef,
    MessageSeen,
    MessageSent,
    MessageStatus,
    Text,
)
from sluiceway_gateways.sms.twilio import TwilioSms

from .conftest import Rig

US, ANN = "+447700900123", "tel:+447700900456"


def a_text(words: str = "Hello", key: str = "1", **fields: Any) -> Received:
    return Received(**({"at": US, "key": key, "sender": ANN, "parts": (Text(text=words),)} | fields))


class Line:
    """The rig, with deliveries that its gateway reads as these facts."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig = rig
        self._monkeypatch = monkeypatch

    async def tell(self, *facts: AnyFact) -> None:
        taken = Intake(facts=facts, reply=Response(status=202))
        with self._monkeypatch.context() as patch:
            patch.setattr(TwilioSms, "receive", lambda self, request: taken)
            assert (await self.rig.text("")).status == 202

    async def sent(self, **fields: Any) -> tuple[Event, str]:
        """A message of ours, and the provider's id of it."""
        await self.rig.send(to=(ANN,), **fields)
        (event,) = await self.rig.until_event("message.sent")
        assert isinstance(event.data, MessageSent)
        return event, event.data.message.external_ids[0]

    async def received(self) -> list[MessageReceived]:
        events = await self.rig.events("message.received")
        return [event.data for event in events if isinstance(event.data, MessageReceived)]


@pytest.fixture
def line(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(rig, monkeypatch)


class TestRemarks:
    async def test_a_reaction_to_what_we_sent_names_it_in_its_conversation(self, line: Line) -> None:
        ours, sid = await line.sent()
        for _ in range(2):
            await line.tell(Reaction(at=US, key="r1", sender=ANN, target=sid, emoji="👍", name="Ann"))
        (told,) = await line.rig.events("message.reaction")
        assert isinstance(told.data, MessageReaction)
        assert isinstance(ours.data, MessageSent)
        assert told.data.target == MessageRef(id=ours.data.message.id, external_id=sid)
        assert (told.data.emoji, told.data.action, told.data.by.role, told.data.by.name) == (
            "👍",
            "added",
            "customer",
            "Ann",
        )
        assert (told.contactid, told.subject, told.actorrole) == (ours.contactid, ours.subject, "customer")
        assert len(await line.rig.events("conversation.opened")) == 1

    async def test_a_conversation_that_is_gone_is_no_obstacle(
        self, line: Line, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def gone(*_: object) -> None:
            return None

        _, sid = await line.sent()
        monkeypatch.setattr("sluiceway.placement.Placement.of_sent", gone)
        await line.tell(Reaction(at=US, key="r1", sender=ANN, target=sid, emoji="👍"))
        assert len(await line.rig.events("message.reaction")) == 1

    async def test_what_the_customer_edits_and_deletes_is_their_own_message(self, line: Line) -> None:
        card = "my card 4111 1111 1111 1111"
        await line.tell(a_text(key="m1"))
        await line.tell(
            Edited(at=US, key="e1", sender=ANN, target="m1", parts=(Text(text=card),)),
            Deleted(at=US, key="d1", sender=ANN, target="m1"),
        )
        (received,) = await line.received()
        (edited,) = await line.rig.events("message.edited")
        (deleted,) = await line.rig.events("message.deleted")
        assert isinstance(edited.data, MessageEdited)
        assert isinstance(deleted.data, MessageDeleted)
        assert edited.data.target == deleted.data.target == MessageRef(id=received.message.id, external_id="m1")
        assert edited.data.parts == (Text(id="1", text="my card **** **** **** 1111"),)
        assert edited.subject == deleted.subject

    async def test_what_one_of_us_edited_in_the_app_and_we_do_not_know_has_no_id_of_ours(self, line: Line) -> None:
        await line.tell(a_text(key="m1"))
        await line.tell(
            Deleted(at=US, key="d1", sender=ANN, target="x", echo=True),
            Reaction(at=US, key="r1", sender=ANN, target="m1", emoji=None, action="removed", echo=True),
        )
        (deleted,) = await line.rig.events("message.deleted")
        (reaction,) = await line.rig.events("message.reaction")
        assert isinstance(deleted.data, MessageDeleted)
        assert isinstance(reaction.data, MessageReaction)
        assert deleted.data.target == MessageRef(external_id="x")
        assert (deleted.data.by.role, deleted.actorrole) == ("agent", "agent")
        (received,) = await line.received()
        assert reaction.data.target.id == received.message.id, "we can only react to what they wrote"

    async def test_seen_names_ours_or_a_time(self, line: Line) -> None:
        ours, sid = await line.sent()
        await line.tell(
            Seen(at=US, key="s1", sender=ANN, target=sid),
            Seen(at=US, key="s2", sender=ANN),
            Seen(at=US, key="s3", sender=ANN, target="x"),
        )
        told = [event.data for event in await line.rig.events("message.seen")]
        assert isinstance(ours.data, MessageSent)
        assert [data.target for data in told if isinstance(data, MessageSeen)] == [
            MessageRef(id=ours.data.message.id, external_id=sid),
            MessageRef(),
            MessageRef(external_id="x"),
        ]


class TestReplies:
    async def test_a_reply_and_its_choice_name_what_they_answer(self, line: Line) -> None:
        ours, sid = await line.sent()
        assert isinstance(ours.data, MessageSent)
        choice = Choice(option_ids=("a",), titles=("A",))
        await line.tell(a_text(key="m1", parts=(choice, Text(text="!")), reply_to=MessageRef(external_id=sid)))
        await line.tell(a_text(key="m2", reply_to=MessageRef(external_id="m1")))
        await line.tell(a_text(key="m3", reply_to=MessageRef(excerpt="…")))
        first, second, third = [data.message for data in await line.received()]
        assert first.reply_to == MessageRef(id=ours.data.message.id, external_id=sid)
        assert isinstance(first.parts[0], Choice)
        assert first.parts[0].prompt_id == ours.data.message.id
        assert second.reply_to == MessageRef(id=first.id, external_id="m1"), "a customer may quote themselves"
        assert third.reply_to == MessageRef(excerpt="…")

    async def test_our_answer_to_a_message_of_ours_reaches_the_gateway_with_the_providers_id(self, line: Line) -> None:
        ours, sid = await line.sent()
        assert isinstance(ours.data, MessageSent)
        await line.rig.send(to=(ANN,), reply_to=MessageRef(id=ours.data.message.id))
        await line.rig.send(to=(ANN,), reply_to=MessageRef(id="01890000-0000-7000-8000-000000000000"))
        _, second, third = await line.rig.until_event("message.sent", 3)
        assert isinstance(second.data, MessageSent)
        assert isinstance(third.data, MessageSent)
        assert second.data.message.reply_to == MessageRef(id=ours.data.message.id, external_id=sid)
        assert third.data.message.reply_to == MessageRef(id="01890000-0000-7000-8000-000000000000")


class TestEchoes:
    async def test_what_one_of_us_typed_in_the_app_is_a_message_that_we_sent(self, line: Line) -> None:
        await line.tell(a_text("Where is it?"))
        for _ in range(2):
            await line.tell(a_text("On its way", key="w1", echo=True, external_ids=("w1",), name="Ann"))
        (received,) = await line.rig.events("message.received")
        (sent,) = await line.rig.events("message.sent")
        assert isinstance(sent.data, MessageSent)
        message = sent.data.message
        assert (message.text, message.author.role, message.author.name) == ("On its way", "agent", None)
        assert message.to[0].address == ANN
        assert (sent.contactid, sent.subject, sent.actorrole) == (received.contactid, received.subject, "agent")

    async def test_what_was_sent_through_us_is_not_told_again(self, line: Line) -> None:
        _, sid = await line.sent()
        await line.tell(a_text("On its way.", key=sid, echo=True, external_ids=(sid,)))
        assert len(await line.rig.events("message.sent")) == 1

    async def test_a_sender_that_was_faster_wins(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        async def lost(*_: object) -> None:
            return None

        monkeypatch.setattr("sluiceway.ledger.Ledger.adopt", lost)
        await line.tell(a_text(echo=True))
        assert await line.rig.events("message.sent") == []

    async def test_its_receipts_find_it_also_those_that_came_before(self, line: Line) -> None:
        def receipt(status: str) -> Receipt:
            return Receipt(at=US, key=f"w1:{status}", external_id="w1", status=status, ext={"billable": False})

        await line.tell(receipt("delivered"), receipt("sent"))
        await line.tell(a_text("On its way", key="w1", echo=True))
        await line.tell(receipt("read"))
        told = [event.data for event in await line.rig.events("message.status")]
        (sent,) = await line.rig.events("message.sent")
        assert isinstance(sent.data, MessageSent)
        assert [(d.message_id, d.status, d.ext) for d in told if isinstance(d, MessageStatus)] == [
            (sent.data.message.id, status, {"sms": {"billable": False}}) for status in ("sent", "delivered", "read")
        ]
        assert {event.causationid for event in await line.rig.events("message.status")} == {None}

    async def test_late_receipts_that_tell_nothing_new_are_left_out(self, line: Line) -> None:
        for key, status in (("1", "read"), ("2", "failed")):
            await line.tell(Receipt(at=US, key=key, external_id="w1", status=status))
        await line.tell(a_text("On its way", key="w1", echo=True))
        assert len(await line.rig.events("message.status")) == 1

    async def test_a_reaction_to_it_names_it(self, line: Line) -> None:
        await line.tell(
            a_text("On its way", key="w1", echo=True),
            Reaction(at=US, key="r1", sender=ANN, target="w1", emoji="👍"),
        )
        (sent,) = await line.rig.events("message.sent")
        (told,) = await line.rig.events("message.reaction")
        assert isinstance(sent.data, MessageSent)
        assert isinstance(told.data, MessageReaction)
        assert told.data.target.id == sent.data.message.id
        assert told.subject == sent.subject
