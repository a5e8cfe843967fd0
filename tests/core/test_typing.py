"""That somebody is typing, out of the helpdesk to the customer: on one account, at once or never, kept by no stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway import Flow, Response, accounts
from sluiceway.bus.link import Heard, Link
from sluiceway.config import Http, Probes
from sluiceway.indicators import MAX_BYTES, Indicators, Wish
from sluiceway.service import Service
from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway_contracts import Command, CommandFailed, Event, TypingSet, uuid7
from sluiceway_gateways._meta_messaging import Business
from sluiceway_gateways._meta_messaging_simulator import MessagingSimulator

from . import conftest
from .conftest import Rig, linked, nats_settings, running, until

CONFIG = """
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
app_secret = "env:META_SECRET"
verify_token = "env:META_VERIFY"
access_token = "env:META_TOKEN"
api_url = "http://127.0.0.1:{api}"
"""
WHATSAPP = (
    CONFIG
    + """
gateway = "whatsapp.cloud"
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
[accounts.globex-wa]
connection = "meta"
tenant = "globex"
address = "whatsapp:447700900125"
phone_number_id = "100000000000003"
"""
)
MESSENGER = (
    CONFIG
    + """
gateway = "messenger.meta"
app_id = "600000000000001"
[accounts.shop]
connection = "meta"
tenant = "acme"
address = "messenger:104829000000001/104829000000001"
"""
)
NUMBERS = {"uk-wa": "100000000000001", "de-wa": "100000000000002", "globex-wa": "100000000000003"}
CUSTOMER, PSID = "+447700900456", "5520011000000456"


class Desk:
    """A helpdesk, and the customer that it talks to."""

    def __init__(self, rig: Rig, account: str, customer: str) -> None:
        self.rig = rig
        self._account = account
        self._customer = customer

    async def written(self, words: str = "Where is my order?", account: str = "", customer: str = "") -> Event:
        """The event of what a customer just wrote."""
        before = len(await self.rig.events("message.received"))
        answer = await self.rig.text(words, customer or self._customer, account or self._account)
        assert answer.status == 200
        return (await self.rig.until_event("message.received", before + 1))[-1]

    async def types(self, conversation: str | None, state: str = "started", **envelope: Any) -> None:
        """Say it as a helpdesk does that knows no more than its tenant and the conversation."""
        fields = {"tenant": "acme", "subject": conversation} | envelope
        command = Command(**fields, data=TypingSet(state=state))
        await self.says(command.nats_subject(self.rig.core.nats.prefix), command)

    async def says(self, subject: str, command: Command | bytes) -> None:
        data = command if isinstance(command, bytes) else command.encode()
        await self.rig.link.send(subject, data)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What Meta was asked."""
        return [request.json(dict[str, Any]) for request in self.rig.provider.requests]

    async def asked(self, count: int = 1) -> list[dict[str, Any]]:
        await until(lambda: len(self.bodies) >= count, f"{count} requests")
        return self.bodies


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("META_SECRET", "META_VERIFY", "META_TOKEN"):
        monkeypatch.setitem(conftest.ENVIRONMENT, name, name.lower())


@pytest.fixture
async def phone(tmp_path: Path, shared_nats: NatsServer, secrets: None) -> AsyncIterator[Desk]:
    async with running(tmp_path, shared_nats, WHATSAPP) as rig:
        yield Desk(rig, "uk-wa", CUSTOMER)


@pytest.fixture
async def page(tmp_path: Path, shared_nats: NatsServer, secrets: None) -> AsyncIterator[Desk]:
    async with running(tmp_path, shared_nats, MESSENGER) as rig:
        yield Desk(rig, "shop", PSID)


def external_id(event: Event) -> str:
    id: str = msgspec.to_builtins(event.data)["message"]["external_ids"][0]
    return id


async def sentinel(desk: Desk) -> list[dict[str, Any]]:
    """What Meta was asked by the time that another customer, who wrote since, is shown that somebody types."""
    last = await desk.written("And mine?", customer="+447700900777")
    before = len(desk.bodies)
    await desk.types(last.subject)
    return (await desk.asked(before + 1))[:-1]


class TestOnWhatsApp:
    async def test_it_is_shown_on_the_last_message_of_the_customer(self, phone: Desk) -> None:
        await phone.written()
        last = await phone.written("Hello?")
        await phone.types(last.subject)
        (body,) = await phone.asked()
        assert body == {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": external_id(last),
            "typing_indicator": {"type": "text"},
        }

    async def test_that_it_stopped_asks_nothing_of_meta(self, phone: Desk) -> None:
        last = await phone.written()
        await phone.types(last.subject, "stopped")
        assert await sentinel(phone) == []

    async def test_it_is_shown_only_where_the_customer_wrote_last(self, phone: Desk) -> None:
        first = await phone.written()
        last = await phone.written("And here?", account="de-wa")
        assert first.subject == last.subject, "one conversation, two accounts"
        await phone.types(last.subject)
        (body,) = await phone.asked()
        assert body["message_id"] == external_id(last)
        assert f"/{NUMBERS['de-wa']}/" in phone.rig.provider.requests[0].url

    async def test_a_channel_or_an_account_that_is_named_is_the_only_one(self, phone: Desk) -> None:
        last = await phone.written()
        for elsewhere in ({"channel": "sms"}, {"account": "de-wa"}, {"channel": "whatsapp", "account": "de-wa"}):
            await phone.types(last.subject, **elsewhere)
        where = phone.rig.core.nats.prefix
        other = Command(tenant="acme", subject=last.subject, channel="sms", data=TypingSet(state="started"))
        await phone.says(f"{where}.v1.acme.live.typing.set._._.{last.subject}", other)
        assert await sentinel(phone) == []
        await phone.types(last.subject, channel="whatsapp", account="uk-wa", contactid=last.contactid)
        assert (await phone.asked(2))[-1]["message_id"] == external_id(last)

    async def test_another_tenants_conversation_is_none(self, phone: Desk) -> None:
        ours, theirs = await phone.written(), await phone.written(account="globex-wa")
        await phone.types(ours.subject, tenant="globex")
        await phone.types(theirs.subject)
        assert await sentinel(phone) == []
        await phone.types(theirs.subject, tenant="globex")
        assert (await phone.asked(2))[-1]["message_id"] == external_id(theirs)

    async def test_nothing_of_it_is_on_any_stream(self, phone: Desk) -> None:
        last = await phone.written()
        names = ("EVENTS", "COMMANDS", "DEAD", "SCHEDULED", "FETCHES")
        before = [await phone.rig.stream(name) for name in names]
        await phone.types(last.subject)
        await phone.asked()
        assert [await phone.rig.stream(name) for name in names] == before

    async def test_as_a_stored_command_it_is_refused(self, phone: Desk) -> None:
        last = await phone.written()
        command = Command(tenant="acme", subject=last.subject, data=TypingSet(state="started"))
        for where in ("any.any", "whatsapp.uk-wa"):
            await phone.rig.command(command.encode(), f"{where}.typing.set.{last.subject}")
        for failed in await phone.rig.until_event("command.failed", 2):
            assert isinstance(failed.data, CommandFailed)
            assert failed.data.error.code == "unsupported"
            assert "live" in failed.data.error.message
        assert phone.bodies == []

    async def test_where_the_customer_has_not_written_there_is_nothing_to_show_it_on(self, phone: Desk) -> None:
        await phone.rig.send(to=("whatsapp:447700900888",), account="uk-wa")
        (sent,) = await phone.rig.until_event("message.sent")
        await phone.types(sent.subject)
        await phone.types(uuid7())
        assert [body["type"] for body in await sentinel(phone)] == ["text"], "the message alone"

    @pytest.mark.parametrize(
        "tail",
        ["_._.{conversation}.x", "_._.*", "_._.>", "any.any.{conversation}", "*._.{conversation}", "_._.x", "_._._"],
    )
    async def test_a_hostile_subject_does_nothing(self, phone: Desk, tail: str) -> None:
        last = await phone.written()
        command = Command(tenant="acme", subject=last.subject, data=TypingSet(state="started"))
        start = f"{phone.rig.core.nats.prefix}.v1.acme.live.typing.set"
        await phone.says(f"{start}.{tail.format(conversation=last.subject)}", command)
        assert await sentinel(phone) == []

    async def test_what_contradicts_its_subject_or_is_none_does_nothing(self, phone: Desk) -> None:
        last = await phone.written()
        typing = TypingSet(state="started")
        right = Command(tenant="acme", subject=last.subject, data=typing)
        subject = right.nats_subject(phone.rig.core.nats.prefix)
        for wrong in (
            Command(tenant="globex", subject=last.subject, data=typing),
            Command(tenant="acme", subject=uuid7(), data=typing),
            Command(tenant="acme", subject=last.subject, type="sluiceway.typing.changed", data=typing),
            Command(tenant="acme", subject=last.subject, data=TypingSet(state="dancing")),
            msgspec.structs.replace(right, actorid="x" * MAX_BYTES),
            b"",
            b"[" * 5000,
            b"\xff",
        ):
            await phone.says(subject, wrong)
        assert await sentinel(phone) == []
        await phone.says(subject, right)
        await phone.asked(2)
        assert not phone.rig.link.closed.is_set()


class TestOnMessenger:
    async def test_a_burst_is_one_request_a_second_and_ends_as_it_ended(self, page: Desk) -> None:
        last = await page.written()
        for _ in range(50):
            await page.types(last.subject)
        await page.types(last.subject, "stopped")
        assert [body["sender_action"] for body in await page.asked(2)] == ["typing_on", "typing_off"]

    async def test_somebody_who_goes_on_typing_is_shown_again(
        self, page: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sluiceway.indicators.EVERY_S", 0.05)
        last = await page.written()

        async def again() -> bool:
            await page.types(last.subject)
            return len(page.bodies) >= 3

        await until(again, "it is shown three times")
        assert {body["sender_action"] for body in page.bodies} == {"typing_on"}

    @pytest.mark.parametrize("code", ["190", "10-2018278", "4", "100"])
    async def test_what_meta_refuses_is_nobodys_error(self, page: Desk, code: str) -> None:
        last = await page.written(customer=f"1555{code}")
        before = [event.type for event in await page.rig.events()]
        await page.types(last.subject)
        await page.asked()
        assert await shown_to_another(page, 2) == "typing_on"
        assert len(page.bodies) == 2, "it is not tried again"
        await page.rig.send(to=(f"messenger:104829000000001/{PSID}",), account="shop")
        await page.rig.until_event("message.sent")
        after = {event.type for event in await page.rig.events()} - set(before)
        assert not after & {"sluiceway.command.failed", "sluiceway.account.health", "sluiceway.error.dead_letter"}

    async def test_a_gateway_that_breaks_over_one_shows_the_next(
        self, page: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gateway = page.rig.account("shop").gateway
        last = await page.written()
        with monkeypatch.context() as broken:
            asked: list[Any] = []

            def act(self: object, action: Any) -> None:
                asked.append(action)
                raise RuntimeError("a fault of the gateway's")

            broken.setattr(type(gateway), "act", act)
            await page.types(last.subject)
            await until(lambda: asked, "it broke")
        assert await shown_to_another(page, 1) == "typing_on"
        assert not page.rig.link.closed.is_set()

    async def test_a_provider_that_does_not_answer_holds_up_nobody_else_for_long(
        self, page: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sluiceway.indicators.WITHIN_S", 0.2)
        original, hung = page.rig.provider.answer, asyncio.Event()

        async def answer(request: Any) -> Response:
            if PSID in request.body.decode():
                await hung.wait()
            return await original(request)

        monkeypatch.setattr(page.rig.provider, "answer", answer)
        last = await page.written()
        await page.types(last.subject)
        assert await shown_to_another(page, 1) == "typing_on"
        hung.set()

    async def test_what_has_no_id_at_meta_is_not_what_it_is_shown_on(self, page: Desk) -> None:
        meta, shop = page.rig.simulator, page.rig.account("shop").account
        assert isinstance(meta, MessagingSimulator)
        assert isinstance(shop, Business)
        tap = meta.event(shop, PSID, postback={"title": "Start", "payload": "START"})
        assert (await page.rig.deliver(meta.delivery(shop, tap))).status == 200
        (event,) = await page.rig.until_event("message.received")
        await page.types(event.subject)
        assert await shown_to_another(page, 1) == "typing_on"
        assert len(page.bodies) == 1

    async def test_what_is_too_much_is_dropped(self, page: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sluiceway.indicators.MAX_IN_HAND", 2)
        events = [await page.written(customer=f"552001100000{number}") for number in range(4)]
        for event in events:
            await page.types(event.subject)
        await page.asked(2)
        monkeypatch.undo()
        assert await shown_to_another(page, 3) == "typing_on"
        assert len(page.bodies) == 3


async def shown_to_another(desk: Desk, count: int) -> str:
    """What another customer is shown, by request number `count`."""
    last = await desk.written("And mine?", customer="5520011000000777")
    await desk.types(last.subject)
    action: str = (await desk.asked(count))[-1]["sender_action"]
    return action


class TestOfSeveralProcesses:
    async def test_one_of_two_replicas_shows_it(self, phone: Desk) -> None:
        async with beside(phone.rig, {"uk-wa", "de-wa", "globex-wa"}):
            for number in range(8):
                last = await phone.written(customer=f"+44770090070{number}")
                await phone.types(last.subject)
                await phone.asked(number + 1)
            assert len(await sentinel(phone)) == 8

    async def test_the_one_that_serves_the_account_shows_it(
        self, tmp_path: Path, shared_nats: NatsServer, secrets: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard: list[str] = []
        original = Indicators._flow

        async def flow(self: Indicators, wish: Wish) -> Flow[None] | None:
            found = await original(self, wish)
            heard.append("shown" if found is not None else "left to others")
            return found

        monkeypatch.setattr(Indicators, "_flow", flow)
        async with running(tmp_path, shared_nats, WHATSAPP) as rig, beside(rig, {"globex-wa", "de-wa"}):
            desk = Desk(rig, "uk-wa", CUSTOMER)
            last = await desk.written()
            await desk.types(last.subject)
            await until(lambda: len(heard) == 2, "both have heard it")
            await desk.asked()
        assert sorted(heard) == ["left to others", "shown"]
        assert len(desk.bodies) == 1


class TestWhenItEnds:
    """As it does whenever the accounts of a process change."""

    async def test_nothing_is_heard_any_more_after_it_was_ended_while_nats_was_away(self, own_nats: NatsServer) -> None:
        async with linked(nats_settings(own_nats)) as link, linked(link.settings) as desk:
            indicators, heard = hearing(link, "acme", "globex")
            before = set(link._client._subs)
            task = asyncio.create_task(indicators.run())
            await until(lambda: len(link._client._subs) == len(before) + 2, "it listens for both tenants")
            own_nats.kill()
            await until(lambda: not link.connected, "the loss is noticed")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert set(link._client._subs) == before
            own_nats.restart()
            await until(lambda: link.connected and desk.connected, "NATS is back")
            await link.request(link.api("INFO"))  # so that the server has all that is subscribed to
            await desk.send(f"{link.settings.prefix}.v1.acme.live.typing.set.x", b"{}")
            await desk.request(desk.api("INFO"))
            await link.request(link.api("INFO"))
            assert not heard

    async def test_one_that_is_ended_between_its_subscriptions_leaves_none(
        self, link: Link, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        indicators, _ = hearing(link, "acme", "globex")
        before, second = set(link._client._subs), asyncio.Event()
        original = link.receive

        async def receive(*each: Any) -> Any:
            if len(link._client._subs) > len(before):
                second.set()
                await asyncio.Event().wait()
            return await original(*each)

        monkeypatch.setattr(link, "receive", receive)
        task = asyncio.create_task(indicators.run())
        await asyncio.wait_for(second.wait(), conftest.WAIT_S)
        assert len(link._client._subs) == len(before) + 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert set(link._client._subs) == before


def hearing(link: Link, *tenants: str) -> tuple[Indicators, list[bytes]]:
    """Indicators of these tenants that keep what they hear; nothing of them is ever shown."""
    heard: list[bytes] = []

    class Hearing(Indicators):
        def _subscriptions(self) -> Iterator[tuple[str, Callable[[Heard], None], str]]:
            for tenant in tenants:
                yield f"{link.settings.prefix}.v1.{tenant}.live.typing.set.>", lambda m: heard.append(m.data), "x"

    nothing: Any = None
    return Hearing((), link, link.settings.prefix, nothing, nothing), heard


@asynccontextmanager
async def beside(rig: Rig, names: set[str]) -> AsyncIterator[None]:
    """A second service beside the rig's, with these of its accounts."""
    core = msgspec.structs.replace(
        rig.core,
        http=Http(listen=f"127.0.0.1:{free_port()}", public_url=rig.core.http.base_url),
        probes=Probes(listen=f"127.0.0.1:{free_port()}"),
    )
    mine = {served.name: served.account for served in rig.accounts if served.name in names}
    served = accounts.Accounts(rig.accounts.connections, mine, core.http.base_url, "sluiceway.toml")
    second = Service(core, served, dispatches=False)
    await second.start()
    await until(lambda: second.ready, "the second service is ready")
    await second.link.request(second.link.api("INFO"))  # so that the server has heard of what it listens to
    try:
        yield
    finally:
        await second.stop()
