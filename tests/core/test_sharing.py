"""Two installations in one NATS account, with prefixes, names and inboxes of their own: neither knows of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest

from sluiceway import accounts
from sluiceway.bus.link import Link
from sluiceway.bus.streams import StreamsError
from sluiceway.config import Probes
from sluiceway.permissions import Permissions
from sluiceway.service import Service
from sluiceway.testing.nats import nats_server
from sluiceway.testing.ports import free_port

from .conftest import TWILIO, Rig, running, until
from .guarded import PASSWORD, Guarded, authorization

OURS, THEIRS = ("shop.eu", "SHOP"), ("cafe.eu", "CAFE")


class Neighbour(Guarded):
    """One of two; its users' names begin with its own."""

    def __init__(self, url: str, prefix: str, names: str) -> None:
        super().__init__(url, prefix=prefix, names=names)
        self.start = f"{names.lower()}-"


@pytest.fixture
def neighbours(tmp_path: Path) -> Iterator[tuple[Neighbour, Neighbour]]:
    """One server with the users of both."""
    users: dict[str, Permissions] = {}
    for one in (OURS, THEIRS):
        neighbour = Neighbour("", *one)
        users |= neighbour.users(neighbour.start)
    with nats_server(tmp_path / "nats", authorization(users)) as server:
        both = Neighbour(server.url, *OURS), Neighbour(server.url, *THEIRS)
        for neighbour in both:
            asyncio.run(neighbour.make_streams())
        yield both


@asynccontextmanager
async def installed(tmp_path: Path, one: Neighbour) -> AsyncIterator[Rig]:
    """Its gateway and its dispatcher, each with its own user; the rig's link is an administrator's."""
    user = f"{one.start}gateway"
    folder = tmp_path / one.names
    folder.mkdir()
    (folder / "password").write_text(PASSWORD)
    nats = f"""prefix = "{one.prefix}"
names = "{one.names}"
user = "{user}"
password = "file:password"
inbox_prefix = "_INBOX_{user}"
streams = "check"
"""
    text = TWILIO.replace('prefix = "t{number}"\nnames = "T{number}"', nats)
    served = running(folder, one, text, dispatches=False)  # type: ignore[arg-type]  # it has an address
    async with served as rig, one.link("admin") as admin:
        rig.link = admin
        core = msgspec.structs.replace(
            rig.core, nats=one.nats(f"{one.start}dispatcher"), probes=Probes(listen=f"127.0.0.1:{free_port()}")
        )
        nobodys = accounts.Accounts({}, {}, core.http.base_url, "sluiceway.toml")
        dispatcher = Service(core, nobodys, gateways=False)
        await dispatcher.start()
        try:
            await until(lambda: dispatcher.ready, "the dispatcher is ready")
            yield rig
        finally:
            await dispatcher.stop()


async def test_what_happens_in_one_installation_is_nothing_to_the_other(
    tmp_path: Path, neighbours: tuple[Neighbour, Neighbour]
) -> None:
    async with AsyncExitStack() as stack:
        ours, theirs = [await stack.enter_async_context(installed(tmp_path, one)) for one in neighbours]
        for rig, words in ((ours, "To the shop"), (theirs, "To the cafe"), (ours, "To the shop again")):
            await rig.text(words)
        (event, again), (other,) = await ours.events("message.received"), await theirs.events("message.received")
        assert event.contactid == again.contactid
        assert event.contactid != other.contactid
        await ours.send("From the shop", conversation_id=event.subject)
        await ours.until_event("message.sent")
        await theirs.send("From the shop's conversation", conversation_id=event.subject)
        (failed,) = await theirs.until_event("command.failed")
        assert failed.subject == event.subject
        assert await theirs.events("message.sent") == []
        assert len(await ours.stream("COMMANDS")) == len(await theirs.stream("COMMANDS")) == 1
        assert not theirs.provider.requests
        for rig, start in ((ours, "shop.eu.v1.acme.events."), (theirs, "cafe.eu.v1.acme.events.")):
            assert all(subject.startswith(start) for subject, _ in await rig.stream())


ROOMS = (
    "{p}.v1.acme.events.message.received.sms._._",
    "{p}.v1.acme.commands.sms.uk-sms.message.send._",
    "{p}.v1.acme.dead.inbound.sms.twilio-uk",
    "{p}.v1.acme.fetches.sms.uk-sms",
    "{p}.v1.acme.scheduled.x",
    "{p}.v1.acme.ask.contact",
    "{p}.v1.acme.live.typing.set._._._",
    "$KV.{n}_IDENTITY.acme.c.x",
    "$KV.{n}_IDENTITY.fingerprint",
    "$KV.{n}_MESSAGES.acme.m.x",
    "$KV.{n}_ACCOUNTS.acme.sms.uk-sms",
    "$KV.{n}_STATE.acme.contact.x",
    "$O.{n}_MEDIA_acme.M.x",
    "$JS.API.STREAM.INFO.{n}_EVENTS",
    "$JS.API.STREAM.CREATE.{n}_EVENTS",
    "$JS.API.STREAM.MSG.GET.{n}_EVENTS",
    "$JS.API.STREAM.MSG.DELETE.{n}_EVENTS",
    "$JS.API.DIRECT.GET.{n}_EVENTS.{p}.v1.acme.events.message.received.sms._._",
    "$JS.API.DIRECT.GET.KV_{n}_IDENTITY.$KV.{n}_IDENTITY.fingerprint",
    "$JS.API.CONSUMER.CREATE.{n}_COMMANDS.out_acme_sms_uk-sms.{p}.v1.acme.commands.sms.uk-sms.>",
    "$JS.API.CONSUMER.MSG.NEXT.{n}_COMMANDS.out_acme_sms_uk-sms",
    "$JS.API.CONSUMER.MSG.NEXT.{n}_EVENTS.state",
    "$JS.API.CONSUMER.MSG.NEXT.{n}_EVENTS.{u}reader",
    "$JS.ACK.{n}_COMMANDS.dispatcher.1.1.1.1.0",
)


async def test_no_user_of_one_installation_may_do_anything_in_the_other(
    neighbours: tuple[Neighbour, Neighbour],
) -> None:
    ours, theirs = neighbours
    words = {"p": theirs.prefix, "n": theirs.names, "u": theirs.start}
    for name in ("gateway", "liberal", "dispatcher", "streams", "reader"):
        async with ours.link(f"{ours.start}{name}") as link:
            for subject in (room.format(**words) for room in ROOMS):
                assert await is_refused(link, subject), f"{name} may publish to {subject}"


async def is_refused(link: Link, subject: str) -> bool:
    """The server says so soon; nobody need wait for an answer that does not come."""
    asking = asyncio.create_task(link.request(subject, b"{}", timeout_s=2))
    try:
        for _ in range(100):
            if link.denied(subject):
                return True
            if asking.done():
                return False
            await asyncio.sleep(0.02)
        return False
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_no_user_of_one_installation_hears_the_other(neighbours: tuple[Neighbour, Neighbour]) -> None:
    ours, theirs = neighbours
    heard: list[str] = []
    async with theirs.link(f"{theirs.start}gateway") as spoken, theirs.link("admin") as admin:
        for name in ("gateway", "dispatcher", "reader"):
            async with ours.link(f"{ours.start}{name}") as link:
                for subject in (
                    f"{theirs.prefix}.>",
                    "*.eu.v1.acme.live.>",
                    f"_INBOX_{theirs.start}gateway.>",
                    "_INBOX.>",
                ):
                    await link.receive(subject, lambda message: heard.append(message.subject))
                await link.receive(own := link.new_inbox(), lambda message: heard.append(message.subject))
                await spoken.request(spoken.api("STREAM.INFO.CAFE_EVENTS"))
                await admin.send(f"{theirs.prefix}.v1.acme.live.typing.set._._.v", b"{}")
                await admin.request(admin.api("INFO"))
                await admin.send(own, b"{}")
                await until(partial(heard.count, own), f"{name} hears its own inbox")
                assert heard.pop() == own
                assert heard == []


async def test_a_second_installation_with_the_same_subjects_is_refused(neighbours: tuple[Neighbour, Neighbour]) -> None:
    ours, _ = neighbours
    twin = Neighbour(ours.url, ours.prefix, "TWIN")
    with pytest.raises(StreamsError, match=r"set nats\.prefix and nats\.names to others"):
        await twin.make_streams()
