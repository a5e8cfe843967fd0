"""WhatsApp through the whole runtime: a large delivery, both directions, echoes, and people without a number."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sluiceway import Request, Response
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import (
    Choices,
    Command,
    CommandFailed,
    ConsentChanged,
    Event,
    Location,
    Media,
    MessageDeleted,
    MessageEdited,
    MessageMarkSeen,
    MessageMedia,
    MessageReact,
    MessageReaction,
    MessageReceived,
    MessageRef,
    MessageSent,
    MessageStatus,
    Option,
    Template,
    Text,
    uuid7,
)
from sluiceway_gateways._simulated_files import file
from sluiceway_gateways.whatsapp.cloud import Number
from sluiceway_gateways.whatsapp.cloud_simulator import WhatsAppSimulator

from . import conftest
from .conftest import Rig, running, until

WHATSAPP = """
[nats]
url = "{url}"
prefix = "t{number}"
names = "T{number}"
[http]
listen = "127.0.0.1:{hooks}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:IDENTITY_KEY"
[connections.meta]
gateway = "whatsapp.cloud"
app_secret = "env:META_SECRET"
verify_token = "env:META_VERIFY"
access_token = "env:META_TOKEN"
api_url = "http://127.0.0.1:{api}"
[accounts.uk-wa]
connection = "meta"
tenant = "acme"
address = "whatsapp:447700900123"
phone_number_id = "100000000000001"
[accounts.de-wa]
connection = "meta"
tenant = "acme"
address = "whatsapp:447700900124"
phone_number_id = "100000000000002"
"""
CUSTOMER, USER_ID = "447700900456", "GB.10000000000000000456"


class Phone:
    """A customer of the rig, and what their phone and ours deliver."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        assert isinstance(rig.simulator, WhatsAppSimulator)
        self.meta = rig.simulator

    def account(self, name: str = "uk-wa") -> Number:
        account = self.rig.account(name).account
        assert isinstance(account, Number)
        return account

    async def deliver(self, value: dict[str, Any], field: str = "messages", account: str = "uk-wa") -> Response:
        return await self.rig.deliver(self.meta.delivery(self.account(account), value, field))

    async def write(self, *texts: str, **who: str) -> list[str]:
        """Texts in one delivery; their ids."""
        ids = [f"wamid.{uuid7()}" for _ in texts]
        messages = [a_message(id, text={"body": text}, **who) for id, text in zip(ids, texts, strict=True)]
        assert (await self.deliver({"messages": messages})).status == 200
        return ids

    async def received(self) -> list[MessageReceived]:
        events = await self.rig.events("message.received")
        return [event.data for event in events if isinstance(event.data, MessageReceived)]


def a_message(id: str, type: str = "text", **fields: Any) -> dict[str, Any]:
    who = {} if "from_user_id" in fields else {"from": CUSTOMER}
    return {**who, "id": id, "timestamp": str(int(time.time())), "type": type, **fields}


def an_image(word: str) -> dict[str, Any]:
    """A picture that the simulator has, or has not."""
    about = {"id": word, "mime_type": "image/jpeg", "sha256": "", "caption": "It came broken"}
    return a_message(f"wamid.{word}", "image", image=about)


@pytest.fixture
async def phone(tmp_path: Path, shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Phone]:
    for name in ("META_SECRET", "META_VERIFY", "META_TOKEN"):
        monkeypatch.setitem(conftest.ENVIRONMENT, name, name.lower())
    async with running(tmp_path, shared_nats, WHATSAPP) as rig:
        yield Phone(rig)


async def test_meta_can_validate_the_hook(phone: Phone) -> None:
    answer = await phone.rig.deliver(phone.meta.validation(challenge="4711"))
    assert (answer.status, answer.body) == (200, b"4711")
    assert (await phone.rig.deliver(phone.meta.validation("guess"))).status == 403


async def test_a_delivery_of_a_hundred_messages_is_on_the_stream_in_order_before_the_answer(phone: Phone) -> None:
    words = [str(number) for number in range(100)]
    await phone.write(*words)
    assert [data.message.text for data in await phone.received()] == words, "read after the 200, without waiting"


async def test_a_forged_delivery_leaves_nothing(phone: Phone) -> None:
    signed = phone.meta.deliver(phone.account(), CUSTOMER, "Hello")
    forged = Request(
        method="POST", url=signed.url, headers=signed.headers, body=signed.body.replace(b"Hello", b"Hallo")
    )
    assert (await phone.rig.deliver(forged)).status == 403
    assert await phone.rig.events() == []


async def test_an_answer_reaches_the_customer_and_is_read(phone: Phone) -> None:
    (theirs,) = await phone.write("Where is it?")
    (event,) = await phone.rig.events("message.received")
    assert isinstance(event.data, MessageReceived)
    assert event.data.message.reply_window_ends is not None
    choices = Choices(prompt="Which?", options=(Option(id="a", title="A"), Option(id="b", title="B")))
    await phone.rig.send(
        account="uk-wa",
        conversation_id=event.subject,
        parts=(Text(text="There"), Location(lat=51.5, lon=0), choices),
        reply_to=MessageRef(id=event.data.message.id, external_id=theirs),
    )
    statuses = await phone.rig.until_event("message.status", 9)
    last = statuses[-1].data
    assert isinstance(last, MessageStatus)
    assert (last.overall, last.ext["whatsapp"]["category"]) == ("read", "service")
    bodies = [request.json(dict[str, Any]) for request in phone.rig.provider.requests]
    assert [body["type"] for body in bodies] == ["text", "location", "interactive"]
    assert [body.get("context") for body in bodies] == [{"message_id": theirs}, None, None]


async def test_reactions_edits_and_deletions_name_the_message(phone: Phone) -> None:
    (theirs,) = await phone.write("Where is it?")
    (received,) = await phone.received()
    await phone.rig.send("On its way.", account="uk-wa", to=(f"whatsapp:{CUSTOMER}",))
    (sent,) = await phone.rig.until_event("message.sent")
    assert isinstance(sent.data, MessageSent)
    wamid = sent.data.message.external_ids[0]
    edited = {"original_message_id": theirs, "message": {"type": "text", "text": {"body": "Where?"}}}
    messages = [
        a_message("wamid.r", "reaction", reaction={"message_id": wamid, "emoji": "👍"}),
        a_message("wamid.e", "edit", edit=edited),
        a_message("wamid.d", "revoke", revoke={"original_message_id": theirs}),
    ]
    assert (await phone.deliver({"messages": messages})).status == 200
    (reaction,) = await phone.rig.events("message.reaction")
    (edit,) = await phone.rig.events("message.edited")
    (deletion,) = await phone.rig.events("message.deleted")
    assert isinstance(reaction.data, MessageReaction)
    assert isinstance(edit.data, MessageEdited)
    assert isinstance(deletion.data, MessageDeleted)
    assert reaction.data.target.id == sent.data.message.id
    assert edit.data.target.id == deletion.data.target.id == received.message.id


async def test_what_one_of_us_types_on_the_phone_is_ours_and_is_there_once(phone: Phone) -> None:
    await phone.write("Where is it?")
    await phone.rig.send("On its way.", account="uk-wa", to=(f"whatsapp:{CUSTOMER}",))
    (sent,) = await phone.rig.until_event("message.sent")
    assert isinstance(sent.data, MessageSent)

    def echo(id: str, text: str) -> dict[str, Any]:
        ours = {"from": "447700900123", "to": CUSTOMER, "id": id, "timestamp": str(int(time.time()))}
        return {"message_echoes": [{**ours, "type": "text", "text": {"body": text}}]}

    for value in (echo(sent.data.message.external_ids[0], "On its way."), *[echo("wamid.t", "It is there")] * 2):
        assert (await phone.deliver(value, "smb_message_echoes")).status == 200
    told = [event.data for event in await phone.rig.events("message.sent")]
    assert [data.message.text for data in told if isinstance(data, MessageSent)] == ["On its way.", "It is there"]
    assert len(await phone.rig.events("message.received")) == 1


async def test_who_hides_the_number_later_is_the_same_person(phone: Phone) -> None:
    await phone.write("First")
    both = a_message("wamid.both", **{"from": CUSTOMER}, from_user_id=USER_ID, text={"body": "Second"})
    assert (await phone.deliver({"messages": [both]})).status == 200
    await phone.write("Third", from_user_id=USER_ID)
    events = await phone.rig.events("message.received")
    assert len({event.contactid for event in events}) == 1
    assert len({event.subject for event in events}) == 1
    await phone.rig.send("Hello", account="uk-wa", conversation_id=events[0].subject)
    await phone.rig.until_event("message.sent")
    (asked,) = phone.rig.provider.requests
    assert asked.json(dict[str, Any])["recipient"] == USER_ID, "where they wrote from last"


async def test_each_message_is_credited_to_its_own_number(phone: Phone) -> None:
    await phone.write("To the first")
    assert (
        await phone.deliver({"messages": [a_message("wamid.2", text={"body": "To the second"})]}, account="de-wa")
    ).status == 200
    assert [event.account for event in await phone.rig.events("message.received")] == ["uk-wa", "de-wa"]


async def test_errors_in_a_delivery_are_told(phone: Phone) -> None:
    assert (await phone.deliver({"errors": [{"code": 130429, "title": "Rate limit hit"}]})).status == 200
    assert len(await phone.rig.events("error.dead_letter")) == 1


async def test_outside_the_window_it_is_rejected_by_name(phone: Phone) -> None:
    await phone.rig.send(account="uk-wa", to=("whatsapp:1555131047",))
    (status,) = await phone.rig.until_event("message.status")
    assert isinstance(status.data, MessageStatus)
    error = status.data.pieces[0].error
    assert error is not None
    assert (status.data.status, error.code, error.provider_code) == ("rejected", "window_closed", "131047")


async def test_after_the_window_only_a_template_goes_out_and_nothing_else_is_asked_of_meta(phone: Phone) -> None:
    long_ago = a_message("wamid.old", text={"body": "Where is it?"}) | {"timestamp": "1767225600"}
    assert (await phone.deliver({"messages": [long_ago]})).status == 200
    (event,) = await phone.rig.events("message.received")
    refused = await phone.rig.send("There.", account="uk-wa", conversation_id=event.subject)
    (failed,) = await phone.rig.until_event("command.failed")
    assert isinstance(failed.data, CommandFailed)
    assert (failed.data.command_id, failed.data.error.code) == (refused.id, "window_closed")
    assert phone.rig.provider.requests == []
    update = Template(name="order_update", lang="en", params=("Friday",))
    await phone.rig.send(account="uk-wa", conversation_id=event.subject, parts=(update,))
    await phone.rig.until_event("message.sent")
    (asked,) = phone.rig.provider.requests
    assert asked.json(dict[str, Any])["template"]["name"] == "order_update"


async def test_who_stopped_marketing_has_stopped_nothing_else(phone: Phone) -> None:
    await phone.rig.send(account="uk-wa", to=("whatsapp:1555131050",))
    (told,) = await phone.rig.until_event("consent.changed")
    assert isinstance(told.data, ConsentChanged)
    assert (told.data.state, told.data.purpose, told.data.evidence) == ("revoked", "marketing", "131050")


async def test_in_a_delivery_too_large_for_nats_one_bad_message_still_spoils_only_itself(phone: Phone) -> None:
    bad = {"id": "wamid.bad", "type": "text", "text": {"body": 7}}
    large = [a_message(f"wamid.{n}", text={"body": "x" * 4096}) for n in range(300)]
    assert (await phone.deliver({"messages": [*large, bad]})).status == 200
    assert len(await phone.received()) == 300
    ((_, parked),) = await phone.rig.stream("DEAD")
    assert b"wamid.bad" in parked
    assert len(parked) < 1000


class TestFiles:
    async def fetched(self, phone: Phone, word: str) -> tuple[Event, MessageMedia]:
        """The message with this picture as it came, and what became of the picture."""
        assert (await phone.deliver({"messages": [an_image(word)]})).status == 200
        (received,) = await phone.rig.events("message.received")
        (told,) = await phone.rig.until_event("message.media")
        assert isinstance(received.data, MessageReceived)
        assert isinstance(told.data, MessageMedia)
        (part,) = received.data.message.parts
        assert isinstance(part, Media)
        assert (part.kind, part.mime, part.state, part.ref, part.url) == ("image", "image/jpeg", "pending", None, None)
        assert (told.data.message_id, told.data.part_id) == (received.data.message.id, part.id)
        assert (told.subject, told.contactid) == (received.subject, received.contactid)
        return received, told.data

    async def test_a_picture_is_pending_and_then_stored_as_what_it_is(self, phone: Phone) -> None:
        _, told = await self.fetched(phone, "cat")
        picture = file("cat")
        assert picture is not None
        assert (told.state, told.mime, told.size, told.error) == ("stored", "image/png", len(picture.body), None)
        assert told.ref == f"media:acme/{hashlib.sha256(picture.body).hexdigest()}"

    async def test_a_stored_file_is_uploaded_once_for_two_messages(self, phone: Phone) -> None:
        received, told = await self.fetched(phone, "cat")
        for caption in ("This one?", "Or this?"):
            photo = Media(kind="image", ref=told.ref, caption=caption)
            await phone.rig.send(account="uk-wa", conversation_id=received.subject, parts=(photo,))
        await phone.rig.until_event("message.sent", 2)
        posted = [request for request in phone.rig.provider.requests if request.method == "POST"]
        upload, *messages = posted
        assert upload.url.partition("?")[0].endswith("/100000000000001/media")
        images = [message.json(dict[str, Any])["image"] for message in messages]
        assert [image["caption"] for image in images] == ["This one?", "Or this?"]
        (id,) = {image["id"] for image in images}
        assert id.isdecimal()

    async def test_a_file_that_meta_has_no_more_is_told_and_the_message_is_there(self, phone: Phone) -> None:
        received, told = await self.fetched(phone, "gone")
        assert (told.state, told.ref, told.error and told.error.code) == ("failed", None, "media_gone")
        assert isinstance(received.data, MessageReceived)
        assert "It came broken" in (received.data.message.text or "")


class TestErrands:
    async def do(self, phone: Phone, data: MessageReact | MessageMarkSeen, subject: str | None) -> None:
        command = Command(tenant="acme", channel="whatsapp", account="uk-wa", subject=subject, data=data)
        rig = phone.rig
        await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())

    async def asked(self, phone: Phone, count: int) -> list[dict[str, Any]]:
        """What Meta was asked, without messages."""

        def bodies() -> list[dict[str, Any]]:
            found = [request.json(dict[str, Any]) for request in phone.rig.provider.requests]
            return [body for body in found if body.get("type") != "text"]

        await until(lambda: len(bodies()) >= count, f"{count} requests")
        return bodies()

    async def failure(self, phone: Phone) -> str:
        (event,) = await phone.rig.until_event("command.failed")
        assert isinstance(event.data, CommandFailed)
        return event.data.error.code

    async def test_we_react_to_what_the_customer_wrote_and_it_is_told(self, phone: Phone) -> None:
        (theirs,) = await phone.write("Thanks!")
        (event,) = await phone.rig.events("message.received")
        assert isinstance(event.data, MessageReceived)
        target = MessageRef(external_id=theirs)
        await self.do(phone, MessageReact(target=target, emoji="👋"), event.subject)
        (told,) = await phone.rig.until_event("message.reaction")
        assert isinstance(told.data, MessageReaction)
        assert told.data.target == MessageRef(id=event.data.message.id, external_id=theirs)
        assert (told.data.by.role, told.data.action, told.subject) == ("agent", "added", event.subject)
        (body,) = await self.asked(phone, 1)
        assert body["reaction"] == {"message_id": theirs, "emoji": "👋"}

    async def test_to_what_we_sent_by_its_own_id_or_the_providers(self, phone: Phone) -> None:
        await phone.rig.send("On its way.", account="uk-wa", to=(f"whatsapp:{CUSTOMER}",))
        (sent,) = await phone.rig.until_event("message.sent")
        assert isinstance(sent.data, MessageSent)
        ref = MessageRef(id=sent.data.message.id, external_id=sent.data.message.external_ids[0])
        for target in (MessageRef(id=ref.id), MessageRef(external_id=ref.external_id), ref):
            await self.do(phone, MessageReact(target=target, emoji="👍", action="remove"), sent.subject)
        told = await phone.rig.until_event("message.reaction", 3)
        assert [event.data.target for event in told if isinstance(event.data, MessageReaction)] == [ref] * 3

    async def test_what_the_customer_wrote_is_marked_as_read(self, phone: Phone) -> None:
        (theirs,) = await phone.write("Thanks!")
        (event,) = await phone.rig.events("message.received")
        await self.do(phone, MessageMarkSeen(target=MessageRef(external_id=theirs)), event.subject)
        (body,) = await self.asked(phone, 1)
        assert (body["status"], body["message_id"]) == ("read", theirs)

    @pytest.mark.parametrize(
        ("target", "subject", "code"),
        [
            (MessageRef(external_id="x"), None, "invalid"),
            (MessageRef(external_id="x"), "01890000-0000-7000-8000-000000000000", "unknown_conversation"),
            (MessageRef(id="01890000-0000-7000-8000-000000000000"), "theirs", "unknown_message"),
            (MessageRef(), "theirs", "unknown_message"),
        ],
    )
    async def test_what_can_not_be_done_is_told(
        self, phone: Phone, target: MessageRef, subject: str | None, code: str
    ) -> None:
        await phone.write("Thanks!")
        (event,) = await phone.rig.events("message.received")
        subject = event.subject if subject == "theirs" else subject
        await self.do(phone, MessageReact(target=target, emoji="👍"), subject)
        assert await self.failure(phone) == code

    async def test_a_conversation_on_another_account_is_refused(self, phone: Phone) -> None:
        value = {"messages": [a_message("wamid.2", text={"body": "To the second"})]}
        assert (await phone.deliver(value, account="de-wa")).status == 200
        (event,) = await phone.rig.events("message.received")
        await self.do(phone, MessageReact(target=MessageRef(external_id="wamid.2"), emoji="👍"), event.subject)
        assert await self.failure(phone) == "wrong_account"

    @pytest.mark.parametrize(("customer", "code"), [("1555131047", "window_closed"), ("1555131016", "throttled")])
    async def test_what_meta_refuses_is_told(
        self, phone: Phone, monkeypatch: pytest.MonkeyPatch, customer: str, code: str
    ) -> None:
        monkeypatch.setattr("sluiceway.acts.RETRIES_S", (0.01,))
        message = a_message("wamid.1", text={"body": "Hello"}) | {"from": customer}
        assert (await phone.deliver({"messages": [message]})).status == 200
        (event,) = await phone.rig.events("message.received")
        await self.do(phone, MessageReact(target=MessageRef(external_id="wamid.1"), emoji="👍"), event.subject)
        assert await self.failure(phone) == code
        assert len(await self.asked(phone, 1)) == (2 if code == "throttled" else 1)
