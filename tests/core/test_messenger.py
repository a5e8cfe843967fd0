"""Messenger and Instagram through the whole runtime: both directions, echoes, remarks, and the end of the window."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from sluiceway import Request, Response
from sluiceway.bus.streams import Layout
from sluiceway.media import MediaStore
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import (
    Choice,
    Choices,
    Event,
    Media,
    MessageDeleted,
    MessageMedia,
    MessageReaction,
    MessageReceived,
    MessageRef,
    MessageSeen,
    MessageSent,
    MessageStatus,
    Option,
    Text,
)
from sluiceway_gateways._meta_messaging import Business
from sluiceway_gateways._meta_messaging_simulator import MessagingSimulator
from sluiceway_gateways._simulated_files import file

from . import conftest
from .conftest import Rig, running

PAGE, OTHER, PSID = "104829000000001", "104829000000002", "5520011000000456"
CONFIG = """
[nats]
url = "{{url}}"
prefix = "t{{number}}"
names = "T{{number}}"
[http]
listen = "127.0.0.1:{{hooks}}"
[probes]
listen = "127.0.0.1:{{probes}}"
[identity]
key = "env:IDENTITY_KEY"
[connections.meta]
gateway = "{channel}.meta"
app_id = "600000000000001"
app_secret = "env:META_SECRET"
verify_token = "env:META_VERIFY"
access_token = "env:META_TOKEN"
api_url = "http://127.0.0.1:{{api}}"
[accounts.shop]
connection = "meta"
tenant = "acme"
address = "{channel}:104829000000001/104829000000001"
[accounts.workshop]
connection = "meta"
tenant = "acme"
address = "{channel}:104829000000002/104829000000002"
access_token = "env:META_OTHER"
human_agent = true
"""


PUBLIC = CONFIG.replace("[http]\n", '[http]\npublic_url = "https://hooks.example"\n')
BOTH = pytest.mark.parametrize("chat", ["messenger", "instagram"], indirect=True)


class Chat:
    """A customer of the rig."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        assert isinstance(rig.simulator, MessagingSimulator)
        self.meta = rig.simulator

    def account(self, name: str = "shop") -> Business:
        account = self.rig.account(name).account
        assert isinstance(account, Business)
        return account

    async def does(self, account: str = "shop", **what: Any) -> Response:
        event = self.meta.event(self.account(account), PSID, **what)
        return await self.rig.deliver(self.meta.delivery(self.account(account), event))

    async def writes(self, mid: str, text: str, account: str = "shop", **more: Any) -> MessageReceived:
        answer = await self.does(account, message={"mid": mid, "text": text, **more})
        assert answer.status == 200
        events = await self.rig.events("message.received")
        assert isinstance(events[-1].data, MessageReceived)
        return events[-1].data

    async def shows(self, text: str) -> tuple[Event, MessageReceived]:
        """The customer writes with a picture that the simulator has."""
        self.meta.fields = {"image": "cat"}
        assert (await self.rig.deliver(self.meta.deliver(self.account(), PSID, text))).status == 200
        (event,) = await self.rig.events("message.received")
        assert isinstance(event.data, MessageReceived)
        return event, event.data

    def posted(self) -> list[dict[str, Any]]:
        """What Meta was sent."""
        requests = self.rig.provider.requests
        return [request.json(dict[str, Any]) for request in requests if request.method == "POST"]


async def at_once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
def config() -> str:
    """Of a Meta app whose hooks nobody reaches from elsewhere."""
    return CONFIG


@pytest.fixture
async def chat(
    tmp_path: Path,
    shared_nats: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    config: str,
) -> AsyncIterator[Chat]:
    for name in ("META_SECRET", "META_VERIFY", "META_TOKEN", "META_OTHER"):
        monkeypatch.setitem(conftest.ENVIRONMENT, name, name.lower())
    channel = getattr(request, "param", "messenger")
    async with running(tmp_path, shared_nats, config.format(channel=channel)) as rig:
        yield Chat(rig)


@BOTH
class TestBoth:
    async def test_meta_can_validate_the_hook(self, chat: Chat) -> None:
        answer = await chat.rig.deliver(chat.meta.validation(challenge="4711"))
        assert (answer.status, answer.body) == (200, b"4711")
        assert (await chat.rig.deliver(chat.meta.validation("guess"))).status == 403

    async def test_a_forged_delivery_leaves_nothing(self, chat: Chat) -> None:
        signed = chat.meta.deliver(chat.account(), PSID, "Hello")
        forged = Request(
            method="POST", url=signed.url, headers=signed.headers, body=signed.body.replace(b"Hello", b"Hallo")
        )
        assert (await chat.rig.deliver(forged)).status == 403
        assert await chat.rig.events() == []

    async def test_an_image_comes_and_one_goes(self, chat: Chat) -> None:
        event, told = await chat.shows("It came broken")
        text, part = told.message.parts
        assert isinstance(part, Media)
        assert (text.plain(), part.kind) == ("It came broken", "image")
        assert told.message.reply_window_ends is not None
        theirs = told.message.external_ids[0]
        photo = Media(kind="image", mime="image/png", url="https://shop.example/1.png")
        choices = Choices(prompt="Which?", options=tuple(Option(id=str(n), title=f"No. {n}") for n in range(4)))
        await chat.rig.send(
            account="shop",
            conversation_id=event.subject,
            parts=(Text(text="Like this?"), photo, choices),
            reply_to=MessageRef(id=told.message.id, external_id=theirs),
        )
        await chat.rig.until_event("message.sent")
        await chat.rig.until_event("message.seen")
        bodies = chat.posted()
        assert [sorted(body["message"]) for body in bodies] == [["text"], ["attachment"], ["quick_replies", "text"]]
        assert [body.get("reply_to") for body in bodies] == [{"mid": theirs}, None, None]

    async def test_a_tapped_button_is_a_choice(self, chat: Chat) -> None:
        assert (await chat.does(postback={"mid": "m_T", "title": "Track", "payload": "TRACK"})).status == 200
        (event,) = await chat.rig.events("message.received")
        assert isinstance(event.data, MessageReceived)
        (part,) = event.data.message.parts
        assert isinstance(part, Choice)
        assert part.option_ids == ("TRACK",)

    async def test_reactions_and_deletions_name_the_message(self, chat: Chat) -> None:
        told = await chat.writes("m_1", "Where is it?")
        reaction = {"mid": "m_1", "action": "react", "reaction": "love", "emoji": "❤️"}
        assert (await chat.does(reaction=reaction)).status == 200
        assert (await chat.does(message={"mid": "m_1", "is_deleted": True})).status == 200
        (felt,) = await chat.rig.events("message.reaction")
        (deleted,) = await chat.rig.events("message.deleted")
        assert isinstance(felt.data, MessageReaction)
        assert isinstance(deleted.data, MessageDeleted)
        assert felt.data.target.id == deleted.data.target.id == told.message.id

    async def test_what_one_of_us_typed_elsewhere_is_ours_and_is_there_once(self, chat: Chat) -> None:
        told = await chat.writes("m_1", "Where is it?")
        assert told.message.text == "Where is it?"
        await chat.rig.send("On its way.", account="shop", to=(f"{chat.meta.channel}:{PAGE}/{PSID}",))
        (sent,) = await chat.rig.until_event("message.sent")
        assert isinstance(sent.data, MessageSent)
        for mid, text in ((sent.data.message.external_ids[0], "On its way."), *[("m_typed", "It is there")] * 2):
            echo = {"mid": mid, "text": text, "is_echo": True, "app_id": 263902037430900}
            ours = {"sender": {"id": PAGE}, "recipient": {"id": PSID}, "timestamp": 1767225700000, "message": echo}
            assert (await chat.rig.deliver(chat.meta.delivery(chat.account(), ours))).status == 200
        texts = [event.data for event in await chat.rig.events("message.sent")]
        assert [data.message.text for data in texts if isinstance(data, MessageSent)] == ["On its way.", "It is there"]

    async def test_each_message_is_credited_to_its_own_account(self, chat: Chat) -> None:
        await chat.writes("m_1", "To the first")
        await chat.writes("m_2", "To the second", account="workshop")
        events = await chat.rig.events("message.received")
        assert [event.account for event in events] == ["shop", "workshop"]
        assert len({event.contactid for event in events}) == 2, "a page knows nobody of another page"

    async def test_outside_the_window_it_is_rejected_by_name_where_no_people_answer(self, chat: Chat) -> None:
        late = "155510-2018278"
        await chat.rig.send("Hi", account="shop", to=(f"{chat.meta.channel}:{PAGE}/{late}",))
        (status,) = await chat.rig.until_event("message.status")
        assert isinstance(status.data, MessageStatus)
        error = status.data.pieces[0].error
        assert error is not None
        assert (status.data.status, error.code, error.provider_code) == ("rejected", "window_closed", "10/2018278")
        await chat.rig.send("Hi", account="workshop", to=(f"{chat.meta.channel}:{OTHER}/{late}",))
        await chat.rig.until_event("message.sent")
        assert chat.rig.provider.requests[-1].json(dict[str, Any])["tag"] == "HUMAN_AGENT"
        assert chat.rig.provider.requests[-1].headers["authorization"] == "Bearer meta_other"


async def test_a_picture_that_comes_by_messenger_is_pending_and_then_stored_as_what_it_is(chat: Chat) -> None:
    event, told = await chat.shows("It came broken")
    part = told.message.parts[1]
    assert isinstance(part, Media)
    assert (part.state, part.ref, part.url) == ("pending", None, None)
    (stored,) = await chat.rig.until_event("message.media")
    picture = file("cat")
    assert isinstance(stored.data, MessageMedia)
    assert picture is not None
    assert (stored.data.message_id, stored.data.part_id, stored.subject) == (told.message.id, part.id, event.subject)
    assert (stored.data.state, stored.data.mime, stored.data.size) == ("stored", "image/png", len(picture.body))
    assert stored.data.ref == f"media:acme/{hashlib.sha256(picture.body).hexdigest()}"


@pytest.mark.parametrize("chat", ["instagram"], indirect=True)
async def test_a_picture_that_comes_by_instagram_stays_with_meta(chat: Chat) -> None:
    _, told = await chat.shows("It came broken")
    part = told.message.parts[1]
    assert isinstance(part, Media)
    assert (part.state, part.ref, part.url) == ("remote", None, f"{chat.meta.settings.api_url}/media/cat")
    assert await chat.rig.stream("FETCHES") == []


@BOTH
@pytest.mark.parametrize("config", [PUBLIC])
async def test_a_stored_file_goes_out_as_a_link_that_meta_can_fetch_it_by(chat: Chat) -> None:
    rig, picture = chat.rig, file("cat")
    assert picture is not None
    store = MediaStore(rig.link, Layout(rig.core.nats), rig.core.media.max_bytes)
    stored = await store.keep("acme", at_once(picture.body))
    photo = Media(kind="image", ref=stored.ref, name="cat.png")
    await rig.send(account="shop", to=(f"{chat.meta.channel}:{PAGE}/{PSID}",), parts=(photo,))
    await rig.until_event("message.sent")
    (body,) = chat.posted()
    assert body["message"]["attachment"]["type"] == "image"
    url = body["message"]["attachment"]["payload"]["url"]
    digest = hashlib.sha256(picture.body).hexdigest()
    where, _, query = url.partition("?")
    assert where == f"https://hooks.example/media/acme/{digest}/cat.png"
    assert parse_qs(query).keys() == {"until", "signature"}
    answer = await rig.client.exchange(
        Request.get(url.replace("https://hooks.example", f"http://{rig.core.http.listen}"))
    )
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "image/png", picture.body)


async def test_what_was_sent_by_messenger_is_delivered_and_seen(chat: Chat) -> None:
    await chat.rig.send("On its way.", account="shop", to=(f"messenger:{PAGE}/{PSID}",))
    (status,) = await chat.rig.until_event("message.status")
    assert isinstance(status.data, MessageStatus)
    assert status.data.overall == "delivered"
    (seen,) = await chat.rig.until_event("message.seen")
    assert isinstance(seen.data, MessageSeen)
    assert (seen.data.target, seen.data.by.address) == (MessageRef(), f"messenger:{PAGE}/{PSID}")
