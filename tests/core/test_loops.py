"""Machines that write letters: one automatic letter a day to an address, none to a machine; people are not held up."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest

from sluiceway import loops as module
from sluiceway.accounts import Served
from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout
from sluiceway.checks import Refusal
from sluiceway.gateway import Account, Capabilities, Gateway, Settings
from sluiceway.identity import Identity
from sluiceway.latest import Latest
from sluiceway.loops import Answered, Loops
from sluiceway.stream import EventStream
from sluiceway.units import Chars
from sluiceway_contracts import Event, Message, MessageReceived, MessageSend, Party, Text, uuid7

ADDRESS, CONTACT = "mailto:ann@customer.example", uuid7()
KEY = Identity(b"an identity key for tests only")


class Post(Gateway[Settings]):
    channel = "post"
    schemes = ("mailto",)
    capabilities = Capabilities(text=Chars(1000), letters=True)


class Text_(Post):
    capabilities = Capabilities(text=Chars(1000))


def served(gateway: type[Gateway[Settings]] = Post) -> Served:
    account = Account(connection="post", tenant="acme", address="mailto:help@acme.example")
    return Served(name="help", channel="post", connection="post", account=account, gateway=gateway(Settings()))


def loops(link: Link, layout: Layout, gateway: type[Gateway[Settings]] = Post) -> Loops:
    latest = Latest(link, layout.events, link.settings.prefix)
    return Loops(served(gateway), Bucket(link, layout.messages, Answered), KEY, latest)


def letter(role: str = "bot", message_id: str | None = None) -> MessageSend:
    return MessageSend(message_id=message_id or uuid7(), author=Party(role=role), parts=(Text(text="Hello"),))


async def hear(link: Link, **ext: Any) -> None:
    """The customer's letter."""
    id = uuid7()
    author = Party(role="customer", address=ADDRESS)
    message = Message(id=id, author=author, parts=(Text(id="1", text="Hi"),), ext={"post": ext} if ext else {})
    data = MessageReceived(message=message, resolved_by="open")
    event = Event(id=id, tenant="acme", channel="post", account="help", contactid=CONTACT, subject=uuid7(), data=data)
    await EventStream(link, link.settings.prefix).publish(event)


async def refused(of: Loops, send: MessageSend, address: str = ADDRESS) -> str:
    with pytest.raises(Refusal) as error:
        await of.admit(send, CONTACT, address)
    return error.value.code


async def test_one_automatic_letter_a_day_goes_to_an_address(link: Link, layout: Layout) -> None:
    of = loops(link, layout)
    await of.admit(letter(), CONTACT, ADDRESS)
    assert await refused(of, letter()) == "too_many_automatic"
    assert await refused(loops(link, layout), letter("system")) == "too_many_automatic", "another process agrees"
    await of.admit(letter(), CONTACT, "mailto:jo@customer.example")


async def test_the_same_letter_tried_again_is_no_second_one(link: Link, layout: Layout) -> None:
    of, once = loops(link, layout), letter()
    await of.admit(once, CONTACT, ADDRESS)
    await of.admit(msgspec.structs.replace(once), CONTACT, ADDRESS)


async def test_after_a_day_another_goes(link: Link, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    of = loops(link, layout)
    await of.admit(letter(), CONTACT, ADDRESS)
    monkeypatch.setattr(module, "ONE_IN", datetime.timedelta(0))
    await of.admit(letter(), CONTACT, ADDRESS)


async def test_people_are_not_held_up(link: Link, layout: Layout) -> None:
    of = loops(link, layout)
    for _ in range(3):
        await of.admit(letter("agent"), CONTACT, ADDRESS)


async def test_a_machine_is_not_answered_by_a_machine(link: Link, layout: Layout) -> None:
    await hear(link, automatic="auto_replied")
    of = loops(link, layout)
    assert await refused(of, letter()) == "automatic_sender"
    await of.admit(letter("agent"), CONTACT, ADDRESS)
    await hear(link)
    await of.admit(letter(), CONTACT, ADDRESS)


async def test_channels_without_letters_know_of_none_of_it(link: Link, layout: Layout) -> None:
    of = loops(link, layout, Text_)
    for _ in range(3):
        await of.admit(letter(), CONTACT, ADDRESS)
