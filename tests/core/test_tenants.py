"""Tenants are apart: by the subjects and keys that core builds, and by the permissions that NATS holds users to."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import accounts
from sluiceway.bus.consumer import Consumer, ConsumerError
from sluiceway.bus.link import Ack, Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Conversations, Nats, Probes
from sluiceway.contacts import Change, Reach
from sluiceway.continuity import Continuity, Place
from sluiceway.erasure import Erasure
from sluiceway.errors import MediaError, SluicewayError, Unavailable
from sluiceway.gateway import Receipt
from sluiceway.identity import Identity
from sluiceway.ledger import Ledger, MessageRecord
from sluiceway.media import MediaStore
from sluiceway.parking import Parcel, Parking
from sluiceway.service import Service
from sluiceway.stream import EventStream
from sluiceway.testing.ports import free_port
from sluiceway.windows import Windows
from sluiceway_contracts import (
    CanSend,
    CanSendAnswer,
    Command,
    CommandFailed,
    ConsentSet,
    Error,
    Event,
    FileRef,
    Message,
    MessageMedia,
    MessageReceived,
    MessageSend,
    Party,
    Piece,
    Text,
    UnknownCommand,
    UnknownEvent,
    now,
    subjects,
    uuid7,
)

from .conftest import TWILIO, Rig, running, until
from .guarded import PASSWORD, Guarded, guarded_server

HOSTILE = st.text(max_size=80) | st.sampled_from(
    [
        "*",
        ">",
        "a.b",
        "globex",
        "acme.events",
        "acme.>",
        "acme.*",
        "",
        " ",
        "_",
        "any",
        "a\n",
        "a\r\nPUB x 1",
        "\x00",
        "é",
        "$KV",
    ]
)
TYPES = (
    HOSTILE | HOSTILE.map(lambda text: f"sluiceway.{text}.x") | HOSTILE.map(lambda text: f"sluiceway.message.{text}")
)
KEY = Identity(b"an identity key for tests only")


class Recorder(Link):
    """A link that stores nothing and remembers where it should have been stored, and where it looked."""

    def __init__(self) -> None:
        super().__init__(Nats(), "test")
        self.subjects: list[str] = []

    async def publish(self, subject: str, *_: Any, **__: Any) -> Ack:
        self.subjects.append(subject)
        return Ack(seq=1)

    async def request(self, subject: str, *_: Any, **__: Any) -> Any:
        self.subjects.append(subject)
        raise Unavailable("it is none")


def stays_with(subject: str, *start: str) -> bool:
    """Whether it begins with these tokens, and no token is a wildcard or anything but a token."""
    tokens = subject.split(".")
    clean = all(
        set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-$") for token in tokens
    )
    return clean and "" not in tokens and tuple(tokens[: len(start)]) == start


@given(HOSTILE, TYPES, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_text_in_an_envelope_leaves_its_tenants_subjects(
    tenant: str, type: str, channel: str, account: str, contact: str, conversation: str
) -> None:
    places = {"channel": channel, "account": account, "contactid": contact, "subject": conversation}
    event = Event(tenant=tenant, type=type, data=UnknownEvent(raw={}), **places)  # type: ignore[arg-type]  # all are text
    command = Command(tenant=tenant, type=type, data=UnknownCommand(raw={}), **places)  # type: ignore[arg-type]  # likewise
    for envelope, rooms in ((event, ("events", "live")), (command, ("commands",))):
        try:
            subject = envelope.nats_subject()
        except subjects.InvalidSubject:
            continue
        assert any(stays_with(subject, "sluiceway", "v1", tenant, room) for room in rooms)


@given(st.lists(HOSTILE, max_size=9).map(".".join))
def test_no_subject_is_read_as_another_tenants(text: str) -> None:
    for parse in (subjects.parse_command, subjects.parse_event, subjects.parse_live_command):
        for subject in (
            f"sluiceway.v1.acme.{text}",
            f"sluiceway.v1.acme.events.{text}",
            f"sluiceway.v1.acme.live.{text}",
            f"sluiceway.v1.acme.commands.{text}",
        ):
            try:
                assert parse(subject).tenant == "acme"
            except subjects.InvalidSubject:
                continue


@given(HOSTILE, HOSTILE, HOSTILE)
async def test_no_address_or_providers_id_leaves_its_tenants_keys(address: str, external_id: str, key: str) -> None:
    link = Recorder()
    stream = EventStream(link, "sluiceway")
    continuity, ledger = Continuity(link, "I", KEY, stream, Windows(Conversations())), Ledger(link, "M", KEY, "I")
    receipt = Receipt(at="", key=key, external_id=external_id, status="sent")
    for work in (
        continuity.resolve("acme", Reach(address=address, channel="sms", account="uk"), "inbound"),
        ledger.apply("acme", "uk", receipt),
        ledger.claim("acme", "uk", external_id, uuid7(), 1),
    ):
        try:
            await work
        except Unavailable:
            continue
    assert link.subjects
    for subject in link.subjects:
        inner = "$KV." + subject.rpartition("$KV.")[2] if "$KV." in subject else subject
        starts = (("$KV", "I", "acme"), ("$KV", "M", "acme"), ("sluiceway", "v1", "acme", "events"))
        assert any(stays_with(inner, *start) for start in starts)


@given(HOSTILE, HOSTILE, st.binary(max_size=20))
async def test_no_delivery_is_parked_with_another_tenant(content_type: str, why: str, raw: bytes) -> None:
    link = Recorder()
    parcel = Parcel(tenant="acme", channel="sms", connection="uk", raw=raw, content_type=content_type)
    await Parking(link, "sluiceway", KEY, EventStream(link, "sluiceway")).park(parcel, Error(code=why, message=why))
    assert all(stays_with(subject, "sluiceway", "v1", "acme") for subject in link.subjects)


@given(HOSTILE.filter(lambda text: text != "acme"))
def test_the_same_delivery_of_another_tenant_has_another_id_and_message_id(tenant: str) -> None:
    assert KEY.id("acme", "sms", "uk", "received", "1") != KEY.id(tenant, "sms", "uk", "received", "1")
    event = Event(tenant=tenant, id="1", data=UnknownEvent(raw={}))
    assert (
        event.headers()["Nats-Msg-Id"]
        != Event(tenant="acme", id="1", data=UnknownEvent(raw={})).headers()["Nats-Msg-Id"]
    )


@pytest.fixture(params=["plain", "domain", "leaf"])
def guarded(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Guarded]:
    """A server of one test's own, alone, with a domain, and behind a leaf node."""
    with guarded_server(tmp_path / "guarded", request.param) as installation:
        yield installation


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server for all tests of what is refused."""
    with guarded_server(tmp_path_factory.mktemp("guarded")) as installation:
        yield installation


def received(tenant: str) -> Event:
    id = uuid7()
    author = Party(role="customer", address="tel:+447700900456")
    message = Message(id=id, author=author, parts=(Text(text=tenant, id="1"),), text=tenant)
    data = MessageReceived(message=message, resolved_by="new")
    return Event(id=id, tenant=tenant, channel="sms", account="uk-sms", contactid=uuid7(), subject=uuid7(), data=data)


@pytest.fixture
async def gateway(guarded: Guarded, tmp_path: Path) -> AsyncIterator[Rig]:
    """A service as the gateway's user; the streams are an administrator's."""
    settings = f"""
user = "gateway"
password = "file:password"
inbox_prefix = "_INBOX_gateway"
streams = "check"
{f'domain = "{guarded.domain}"' if guarded.domain else ""}
"""
    (tmp_path / "password").write_text(PASSWORD)
    text = TWILIO.replace('prefix = "t{number}"\nnames = "T{number}"', f'prefix = "p"\nnames = "N"{settings}')
    served = running(tmp_path, guarded, text, dispatches=False)  # type: ignore[arg-type]  # it has an address
    async with served as rig, guarded.link("admin") as admin:
        rig.link = admin
        yield rig


async def test_a_gateways_user_can_do_all_that_its_gateway_does(gateway: Rig) -> None:
    await gateway.text("Hello")
    (event,) = await gateway.events("message.received")
    assert isinstance(event.data, MessageReceived)
    await gateway.send("On its way.", conversation_id=event.subject, if_last_inbound=event.data.message.id)
    await gateway.send("To somebody", to=("tel:+447700900777",), account="de-sms")
    await gateway.send("To nobody's address", to=("mailto:a@b.example",), account="de-sms")
    await gateway.until_event("message.sent", 2)
    await gateway.until_event("command.failed")
    await gateway.until_event("message.status", 6)
    stranger = msgspec.structs.replace(gateway.account().account, address="tel:+447700900999")
    assert (await gateway.deliver(gateway.simulator.deliver(stranger, "+447700900456", "Hello"))).status == 200
    assert len(await gateway.stream("DEAD")) == 1


async def test_a_dispatchers_user_can_do_all_that_the_dispatcher_does(gateway: Rig, guarded: Guarded) -> None:
    core = msgspec.structs.replace(
        gateway.core, nats=guarded.nats("dispatcher"), probes=Probes(listen=f"127.0.0.1:{free_port()}")
    )
    nobodys = accounts.Accounts({}, {}, core.http.base_url, "sluiceway.toml")
    dispatcher = Service(core, nobodys, gateways=False)
    await dispatcher.start()
    try:
        await until(lambda: dispatcher.ready, "the dispatcher is ready")
        await gateway.text("Hello")
        (event,) = await gateway.events("message.received")
        for not_before in (None, now() + datetime.timedelta(seconds=1)):
            data = MessageSend(
                message_id=uuid7(),
                author=Party(role="agent"),
                parts=(Text(text="On its way."),),
                conversation_id=event.subject,
                not_before=not_before,
                fallback_channels=("email",),
            )
            await publish(gateway, Command(tenant="acme", subject=event.subject, data=data))
        await gateway.send("To nobody", to=("tel:+447700900777",), account="nobody")
        consent = ConsentSet(address="tel:+447700900999", channel="sms", state="revoked")
        await publish(gateway, Command(tenant="acme", data=consent))
        await gateway.until_event("message.sent", 2)
        await gateway.until_event("consent.changed")
        (failed,) = await gateway.until_event("command.failed")
        assert isinstance(failed.data, CommandFailed)
        assert failed.data.error.code == "unknown_account"
        question = msgspec.json.encode(CanSend(conversation_id=event.subject or ""))
        answer = await gateway.link.request("p.v1.acme.ask.can-send", question, timeout_s=5)
        assert len(msgspec.json.decode(answer.data, type=CanSendAnswer).open) == 1
    finally:
        await dispatcher.stop()


async def publish(rig: Rig, command: Command) -> None:
    await rig.link.publish(command.nats_subject("p"), command.encode(), command.headers())


@pytest.mark.parametrize(
    "subject",
    [
        "p.v1.globex.events.message.received.sms._._",
        "p.v1.globex.dead.inbound.sms.uk",
        "p.v1.acme.commands.sms.uk-sms.message.send._",
        "p.v1.globex.commands.sms.uk-sms.message.send._",
        "$KV.N_IDENTITY.globex.a.x",
        "$KV.N_MESSAGES.globex.m.x",
        "$KV.N_ACCOUNTS.globex.sms.uk-sms",
        "$JS.API.DIRECT.GET.KV_N_IDENTITY.$KV.N_IDENTITY.globex.a.x",
        "$JS.API.DIRECT.GET.KV_N_MESSAGES.$KV.N_MESSAGES.globex.m.x",
        "$JS.API.DIRECT.GET.N_EVENTS",
        "$JS.API.DIRECT.GET.N_EVENTS.p.v1.globex.events.message.received.sms.*.*",
        "$JS.API.DIRECT.GET.N_EVENTS.p.v1.*.events.message.received.sms.*.*",
        "$JS.API.DIRECT.GET.N_EVENTS.p.v1.>",
        "$JS.API.STREAM.MSG.GET.N_EVENTS",
        "$JS.API.STREAM.DELETE.N_EVENTS",
        "$JS.API.STREAM.PURGE.N_EVENTS",
        "$JS.API.CONSUMER.CREATE.N_EVENTS",
        "$JS.API.CONSUMER.CREATE.KV_N_IDENTITY.x.$KV.N_IDENTITY.globex.c.*",
        "$JS.API.CONSUMER.CREATE.N_COMMANDS.out_acme_sms_uk-sms",
        "$JS.API.CONSUMER.DELETE.N_COMMANDS.out_acme_sms_uk-sms",
        "$JS.API.CONSUMER.DURABLE.CREATE.N_COMMANDS.out_acme_sms_uk-sms",
        "$JS.API.CONSUMER.RESET.N_COMMANDS.out_globex_sms_uk-sms",
        "$JS.API.CONSUMER.MSG.NEXT.N_COMMANDS.out_globex_sms_uk-sms",
        "$JS.API.CONSUMER.CREATE.N_COMMANDS.out_globex_sms_uk-sms.p.v1.acme.commands.sms.>",
        "$JS.API.CONSUMER.CREATE.N_COMMANDS.out_acme_sms_uk-sms.p.v1.acme.commands.sms.>",
        "$JS.API.CONSUMER.CREATE.N_COMMANDS.out_acme_sms_later.p.v1.acme.commands.sms.later.>",
        "$JS.API.CONSUMER.MSG.NEXT.N_FETCHES.in_acme_sms_later",
        "$JS.ACK.N_COMMANDS.out_globex_sms_uk-sms.1.1.1.1.0",
        "$JS.ACK._.hash.N_COMMANDS.out_globex_sms_uk-sms.1.1.1.1.0",
        "p.v1.acme.events.message.received.email._._",
        "p.v1.acme.events.account.health.email._._",
        "p.v1.acme.dead.inbound.email.support",
        "p.v1.acme.dead.commands.email.support",
        "p.v1.acme.fetches.email.support",
        "p.v1.acme.commands.any.any.call.step._",
        "p.v1._.events.account.unknown.email._._",
        "p.v1._.dead.inbound.email.support",
        "$KV.N_ACCOUNTS.acme.email.support",
        "$JS.API.DIRECT.GET.KV_N_ACCOUNTS.$KV.N_ACCOUNTS.acme.email.support",
        "$JS.API.DIRECT.GET.KV_N_ACCOUNTS.$KV.N_ACCOUNTS.>",
        "$JS.API.CONSUMER.CREATE.N_COMMANDS.out_acme_email_support.p.v1.acme.commands.email.support.>",
        "$JS.API.CONSUMER.MSG.NEXT.N_COMMANDS.out_acme_email_support",
        "$JS.API.CONSUMER.CREATE.N_FETCHES.in_acme_email_support.p.v1.acme.fetches.email.support",
        "$KV.N_STATE.acme.conversation.x",
        "$O.N_MEDIA_globex.M.x",
        "$JS.API.DIRECT.GET.OBJ_N_MEDIA_globex",
        "$JS.API.STREAM.PURGE.OBJ_N_MEDIA_globex",
        "$JS.API.STREAM.INFO.OBJ_N_MEDIA_globex",
        "$JS.API.STREAM.CREATE.N_EVENTS",
        "$JS.API.STREAM.UPDATE.N_EVENTS",
        "$JS.API.STREAM.MSG.DELETE.KV_N_IDENTITY",
    ],
)
async def test_a_gateways_user_is_refused_all_else(refusing: Guarded, subject: str) -> None:
    async with refusing.link("admin") as admin, refusing.link("gateway") as link:
        event = received("globex")
        await admin.publish(event.nats_subject("p"), event.encode(), event.headers())
        before = await stored(admin, refusing)
        with pytest.raises(Unavailable, match="in time"):
            await link.request(subject, b"{}", timeout_s=0.5)
        assert link.denied(subject)
        assert await stored(admin, refusing) == before


async def test_a_gateways_user_hears_who_types_to_its_own_tenant_alone(refusing: Guarded) -> None:
    heard: list[str] = []
    async with refusing.link("admin") as admin, refusing.link("gateway") as link:
        for subject in ("acme.live.typing.set.>", "globex.live.typing.set.>", "*.live.>", "acme.events.>"):
            await link.receive(f"p.v1.{subject}", lambda message: heard.append(message.subject), queue="typing")
        await link.request(link.api("STREAM.INFO.N_EVENTS"))  # so that the server has heard of it
        for tenant in ("globex", "acme"):
            await admin.send(f"p.v1.{tenant}.live.typing.changed._._.v", b"{}")
            await admin.send(f"p.v1.{tenant}.live.typing.set._._.v", b"{}")
        await until(lambda: heard, "it hears of its own")
    assert heard == ["p.v1.acme.live.typing.set._._.v"]


async def test_a_gateways_user_makes_no_consumer_of_another_tenants_commands(refusing: Guarded) -> None:
    async with refusing.link("gateway") as link:
        for durable, subject in (
            ("mine", "p.v1.globex.commands.sms.>"),
            ("mine", "p.v1.*.commands.sms.>"),
            ("mine", ">"),
        ):
            with pytest.raises((Unavailable, ConsumerError)):
                await Consumer(link, "N_COMMANDS", durable, subject).create()


async def test_a_gateways_user_keeps_and_reads_its_tenants_files_alone(guarded: Guarded) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"\x89PNG\r\n\x1a\n" + bytes(300_000)

    async with guarded.link("gateway") as link, guarded.link("admin") as admin:
        files, all_files = MediaStore(link, guarded.layout, 1 << 20), MediaStore(admin, guarded.layout, 1 << 20)
        kept = FileRef.parse((await files.keep("acme", chunks(), "image/png")).ref)
        assert await files.find(kept) is not None
        other = FileRef.parse((await all_files.keep("globex", chunks(), "image/png")).ref)
        with pytest.raises(Unavailable):
            await files.find(other)
        with pytest.raises((Unavailable, MediaError)):
            await files.keep("globex", chunks(), "image/jpeg")


async def test_a_gateways_user_may_serve_accounts_to_come_where_any_account_is_allowed(refusing: Guarded) -> None:
    async with refusing.link("liberal") as link:
        await Consumer(link, "N_COMMANDS", "out_acme_sms_later", "p.v1.acme.commands.sms.later.>").create()
        with pytest.raises(ConsumerError, match="consumer not found"):
            await Consumer(link, "N_COMMANDS", "out_globex_sms_uk", "")._call("CONSUMER.INFO.N_COMMANDS.nobody", b"")
        with pytest.raises(Unavailable):
            await Consumer(link, "N_COMMANDS", "mine", "p.v1.globex.commands.sms.>").create()


async def test_the_streams_user_makes_what_must_be_there_and_nothing_else(guarded: Guarded) -> None:
    async with guarded.link("admin") as admin:
        for name in guarded.layout.with_media(["acme", "globex"]):
            await admin.request(admin.api(f"STREAM.DELETE.{name}"), timeout_s=5)
    async with guarded.link("streams") as link:
        await ensure(link, guarded.layout, create=True, tenants=("acme", "globex", "initech"))
        for subject in (
            link.api("STREAM.CREATE.MINE"),
            link.api("STREAM.CREATE.OBJ_N_MEDIA_umbrella"),
            link.api("STREAM.UPDATE.N_EVENTS"),
            link.api("STREAM.DELETE.N_EVENTS"),
            link.api("STREAM.PURGE.N_EVENTS"),
            link.api("STREAM.MSG.GET.N_EVENTS"),
            link.api("STREAM.LIST"),
            link.api("DIRECT.GET.N_EVENTS"),
            link.api("CONSUMER.CREATE.N_EVENTS.x"),
            "p.v1.acme.events.message.received.sms._._",
            "p.v1.acme.commands.sms.uk-sms.message.send._",
            "$KV.N_IDENTITY.acme.c.x",
        ):
            with pytest.raises(Unavailable):
                await link.request(subject, b"{}", timeout_s=0.3)
            assert link.denied(subject), subject


async def stored(admin: Link, server: Guarded) -> list[int]:
    """How much each stream has ever stored."""
    infos = [await admin.request(admin.api(f"STREAM.INFO.{name}"), timeout_s=5) for name in server.layout.configs]
    return [msgspec.json.decode(info.data)["state"]["last_seq"] for info in infos]


async def pulled(link: Link, durable: str) -> list[str]:
    """The tenants of what a consumer gives, all that is there."""
    found: list[str] = []
    ended = asyncio.Event()

    async def take(message: Any) -> None:
        if message.reply:
            found.append(message.subject.split(".")[2])
        else:
            ended.set()

    inbox = link.new_inbox()
    unsubscribe = await link.subscribe(inbox, take)
    await link.send(link.api(f"CONSUMER.MSG.NEXT.N_EVENTS.{durable}"), b'{"batch": 100, "no_wait": true}', reply=inbox)
    try:
        async with asyncio.timeout(2):
            await ended.wait()
    except TimeoutError:
        assert not found
    await unsubscribe()
    return found


async def test_a_tenants_reader_reads_nothing_of_another_tenant(refusing: Guarded) -> None:
    async with refusing.link("admin") as admin, refusing.link("reader") as reader:
        for tenant in ("acme", "globex", "acme"):
            event = received(tenant)
            await admin.publish(event.nats_subject("p"), event.encode(), event.headers())
        for tenant, name in (("acme", "reader"), ("globex", "globex-desk")):
            config = {
                "durable_name": name,
                "filter_subject": f"p.v1.{tenant}.events.>",
                "ack_policy": "explicit",
            }
            body = msgspec.json.encode({"stream_name": "N_EVENTS", "config": config})
            await admin.request(admin.api(f"CONSUMER.CREATE.N_EVENTS.{name}.p.v1.{tenant}.events.>"), body)
        assert await pulled(reader, "reader") == ["acme", "acme"]
        assert await pulled(reader, "globex-desk") == []
        overheard: list[str] = []

        async def overhear(message: Any) -> None:
            overheard.append(message.subject)

        for subject in ("p.v1.globex.>", "p.v1.*.events.>", ">", "$KV.>", "_INBOX.>", "_INBOX_gateway.>"):
            await reader.subscribe(subject, overhear)
        for call in (
            "DIRECT.GET.N_EVENTS",
            "STREAM.MSG.GET.N_EVENTS",
            "CONSUMER.CREATE.N_EVENTS",
            "STREAM.INFO.N_EVENTS",
        ):
            with pytest.raises(SluicewayError):
                await reader.request(reader.api(call), b'{"seq": 2}', timeout_s=0.3)
        await admin.publish((again := received("globex")).nats_subject("p"), again.encode())
        await asyncio.sleep(0.2)
        assert overheard == []


async def test_one_message_id_is_two_messages_for_two_tenants(link: Link, layout: Layout) -> None:
    ledger, message_id = Ledger(link, layout.messages, KEY, layout.identity), uuid7()
    pieces = (Piece(index=1, of=1, status="accepted"),)
    for tenant in ("acme", "globex"):
        record = MessageRecord(
            state="intent",
            command_id=tenant,
            channel="sms",
            account="uk",
            contact="c",
            conversation="v",
            pieces=pieces,
        )
        await ledger.begin(tenant, message_id, record)
    found = await ledger.get("acme", message_id)
    assert found is not None
    assert found.value.command_id == "acme"


async def test_one_number_is_two_contacts_for_two_tenants(link: Link, layout: Layout) -> None:
    continuity = Continuity(
        link, layout.identity, KEY, EventStream(link, link.settings.prefix), Windows(Conversations())
    )
    reach = Reach(address="tel:+447700900456", channel="sms", account="uk")
    first, second = (
        await continuity.resolve("acme", reach, "inbound"),
        await continuity.resolve("globex", reach, "inbound"),
    )
    assert first.contact != second.contact
    assert await continuity.find("globex", first.conversation) is None


async def test_a_conversation_of_another_tenant_is_none(rig: Rig) -> None:
    await rig.text("Hello")
    (event,) = await rig.events("message.received")
    send = MessageSend(
        message_id=uuid7(), author=Party(role="agent"), parts=(Text(text="Hi"),), conversation_id=event.subject
    )
    for tenant in ("globex", "acme"):
        command = Command(tenant=tenant, channel="sms", account="uk-sms", subject=event.subject, data=send)
        await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode())
    await rig.until_event("command.failed")
    await until(lambda: rig.provider.requests, "acme's own goes out")
    (failed,) = await rig.events("command.failed")
    assert failed.tenant == "globex"


async def test_the_dispatchers_user_can_erase_and_a_gateways_cannot(guarded: Guarded) -> None:
    reach = Reach(address="tel:+447700900456", channel="sms", account="uk-sms")
    for name in ("gateway", "dispatcher"):
        async with guarded.link(name) as link:
            stream = EventStream(link, guarded.prefix)
            continuity = Continuity(link, guarded.layout.identity, KEY, stream, Windows(Conversations()))
            place = await continuity.resolve("acme", reach, "inbound")
            files = MediaStore(link, guarded.layout, 1 << 20)
            eraser = Erasure(
                link,
                guarded.layout,
                guarded.prefix,
                KEY,
                continuity=continuity,
                stream=stream,
                files=files,
                settle_s=0,
            )
            ref = await _with_a_file(guarded, place)
            erasing = eraser.erase(Change("acme", place.contact, now()))
            if name == "dispatcher":
                await erasing
                assert await continuity.owner("acme", reach.address) is None
                assert await files.find(ref) is None
            else:
                with pytest.raises(Unavailable):
                    await erasing


async def _with_a_file(guarded: Guarded, place: Place) -> FileRef:
    """A file that the person sent, as an administrator's doing."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"\x89PNG\r\n\x1a\n" + bytes(300_000)

    async with guarded.link("admin") as admin:
        file = await MediaStore(admin, guarded.layout, 1 << 20).keep("acme", chunks(), "image/png")
        data = MessageMedia(message_id=uuid7(), part_id="1", state="stored", ref=file.ref)
        event = Event(
            id=uuid7(), tenant="acme", channel="sms", contactid=place.contact, subject=place.conversation, data=data
        )
        await admin.publish(event.nats_subject(guarded.prefix), event.encode(), event.headers())
    return FileRef.parse(file.ref)
