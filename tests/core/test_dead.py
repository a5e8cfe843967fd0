"""Dead letters: what ends there, what they say, and that replaying them brings everything once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway import dead, sending
from sluiceway.bus.streams import Layout
from sluiceway.dead import DeadLetter, DeadLetterError, DeadLetters, Replay
from sluiceway.driver import Driver
from sluiceway.errors import ConfigError
from sluiceway.gateway import Secret
from sluiceway.ledger import HISTORY, MessageRecord
from sluiceway.wire import Form, Request, Response
from sluiceway_contracts import (
    AccountUnknown,
    Command,
    ErrorDeadLetter,
    MessageSend,
    MessageStatus,
    Piece,
    UnknownCommand,
    uuid7,
)
from sluiceway_gateways._twilio import sign
from sluiceway_gateways.sms import twilio

from .conftest import ENVIRONMENT, Rig, until

SOMEBODY = "tel:+447700900777"


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "RETRIES_S", (0, 0))


def refuse(rig: Rig, monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """The provider is too busy for all but the first requests."""
    original = rig.provider.answer

    async def answer(request: Request) -> Response:
        if len(rig.provider.requests) >= after:
            return Response(status=429)
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)


def letters(rig: Rig) -> DeadLetters:
    return DeadLetters(rig.link, Layout(rig.core.nats), rig.core.nats.prefix)


async def the_letter(rig: Rig) -> DeadLetter:
    (event,) = await rig.until_event("error.dead_letter")
    assert isinstance(event.data, ErrorDeadLetter)
    return await letters(rig).at(event.data.sequence)


async def again(rig: Rig, letter: DeadLetter, *, whole: bool = False) -> Command:
    return await dead.again(rig.link, Layout(rig.core.nats), rig.core.nats.prefix, letter, whole=whole)


def replay(rig: Rig, key: str = ENVIRONMENT["IDENTITY_KEY"]) -> Replay:
    driver: Driver = rig.client
    return Replay(rig.link, Layout(rig.core.nats), rig.core, key.encode(), rig.accounts, driver)


@pytest.mark.usefixtures("no_pause")
class TestACommandWhoseTriesAreUsedUp:
    async def test_is_kept_as_it_came_with_its_history(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        refuse(rig, monkeypatch)
        command = await rig.send("Hello", to=(SOMEBODY,))
        letter = await the_letter(rig)
        assert letter.body == command.encode()
        assert (letter.tenant, letter.kind, letter.channel, letter.name) == ("acme", "commands", "sms", "uk-sms")
        assert (letter.error, letter.tried, letter.arrived) == ("throttled", 3, "0/1")
        assert [(one.piece, one.code) for one in letter.history] == [(1, "throttled")] * 3
        assert [one.at for one in letter.history] == sorted(one.at for one in letter.history)

    async def test_is_announced_after_its_status(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        refuse(rig, monkeypatch)
        command = await rig.send("Hello", to=(SOMEBODY,))
        (event,) = await rig.until_event("error.dead_letter")
        assert isinstance(event.data, ErrorDeadLetter)
        assert (event.data.command_id, event.causationid, event.account) == (command.id, command.id, "uk-sms")
        *_, status, last = await rig.events()
        assert isinstance(status.data, MessageStatus)
        assert (status.data.status, last.id, last.subject) == ("failed", event.id, status.subject)

    async def test_is_kept_once_though_a_process_dies_before_it_is_acknowledged(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse(rig, monkeypatch)
        command = await rig.send("Hello", to=(SOMEBODY,))
        await the_letter(rig)
        headers = command.headers() | {"Nats-Msg-Id": "as if it had never been acknowledged"}
        await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), headers)
        await rig.send("Behind it", to=(SOMEBODY,))
        await rig.until_event("error.dead_letter", 2)
        assert len(await rig.stream("DEAD")) == 2

    async def test_is_sent_when_it_is_replayed(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as busy:
            refuse(rig, busy)
            command = await rig.send("Hello", to=(SOMEBODY,))
            letter = await the_letter(rig)
        fresh = await again(rig, letter)
        (sent,) = await rig.until_event("message.sent")
        assert isinstance(fresh.data, MessageSend)
        assert isinstance(command.data, MessageSend)
        assert sent.causationid == fresh.id != command.id
        assert fresh.data.message_id != command.data.message_id
        assert [request.form["Body"] for request in rig.provider.requests] == ["Hello"]
        assert len(await rig.stream("DEAD")) == 1

    async def test_is_sent_once_though_it_is_replayed_twice(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as busy:
            refuse(rig, busy)
            await rig.send("Hello", to=(SOMEBODY,))
            letter = await the_letter(rig)
        await asyncio.gather(again(rig, letter), again(rig, letter))
        await rig.until_event("message.sent")
        with pytest.raises(DeadLetterError, match="was replayed before"):
            await again(rig, letter)
        await rig.send("Behind it", to=(SOMEBODY,))
        await rig.until_event("message.sent", 2)
        assert [request.form["Body"] for request in rig.provider.requests] == ["Hello", "Behind it"]

    async def test_that_has_arrived_in_part_is_replayed_only_when_that_is_meant(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as busy:
            refuse(rig, busy, after=1)
            await rig.send("word " * 500, to=(SOMEBODY,))
            letter = await the_letter(rig)
        assert letter.arrived == "1/2"
        assert {one.piece for one in letter.history} == {2}
        with pytest.raises(DeadLetterError, match="1/2 of its pieces have been sent"):
            await again(rig, letter)
        await again(rig, letter, whole=True)
        await rig.until_event("message.sent", 2)
        assert len(rig.provider.requests) == 3


async def test_what_the_provider_refuses_is_no_dead_letter(rig: Rig) -> None:
    await rig.send("Hello", to=("tel:+15005550004",))
    await rig.until_event("consent.changed")
    assert await rig.stream("DEAD") == []


def test_a_record_remembers_the_last_tries_and_counts_all() -> None:
    record = MessageRecord(
        state="intent",
        command_id=uuid7(),
        channel="sms",
        account="uk-sms",
        contact=uuid7(),
        conversation=uuid7(),
        pieces=(Piece(index=1, of=1, status="accepted"),),
    )
    for number in range(100):
        record = record.after(str(number))
    assert record.tried == 100
    assert [one.code for one in record.history] == [str(number) for number in range(100 - HISTORY, 100)]


def a_letter(**fields: Any) -> DeadLetter:
    known: dict[str, Any] = {
        "sequence": 1,
        "stored_at": "2026-01-01T00:00:00Z",
        "tenant": "acme",
        "kind": "commands",
        "channel": "sms",
        "name": "uk-sms",
        "error": "throttled",
        "reason": "",
        "size": 1,
        "arrived": "0/1",
    }
    return DeadLetter(**(known | fields))


async def test_what_is_no_message_is_not_replayed(rig: Rig) -> None:
    with pytest.raises(DeadLetterError, match="is no command"):
        await again(rig, a_letter(body=b"garbage"))
    dance = Command(tenant="acme", type="sluiceway.message.dance", data=UnknownCommand(raw={}))
    with pytest.raises(DeadLetterError, match="only messages are replayed"):
        await again(rig, a_letter(body=dance.encode()))


async def test_what_was_not_to_be_sent_any_more_is_not_replayed(rig: Rig) -> None:
    send = {"message_id": uuid7(), "author": {"role": "agent"}, "parts": [], "expires_at": "2026-01-01T00:00:00Z"}
    body = msgspec.json.decode(Command(tenant="acme", type="sluiceway.message.send", data=UnknownCommand()).encode())
    with pytest.raises(DeadLetterError, match="was not to be sent after 2026-01-01 00:00:00 UTC"):
        await again(rig, a_letter(body=msgspec.json.encode(body | {"data": send})))


async def test_a_number_that_is_no_dead_letters_is_told(rig: Rig) -> None:
    with pytest.raises(DeadLetterError, match="there is no dead letter 77"):
        await letters(rig).at(77)


def signed(rig: Rig, fields: str, subpath: str = "") -> Request:
    """A delivery of these form fields, signed as Twilio signs it."""
    url, body = rig.hook_url + subpath, fields.encode()
    pairs = Form(tuple(pair.split("=")) for pair in fields.replace("%2B", "+").split("&")).pairs  # type: ignore[misc]  # each has two
    headers = {
        "content-type": twilio_form(),
        "x-twilio-signature": sign(Secret(ENVIRONMENT["TWILIO_TOKEN"]), url, pairs),
    }
    return Request(method="POST", url=url, headers=headers, body=body)


def twilio_form() -> str:
    return "application/x-www-form-urlencoded; charset=UTF-8"


class TestADeliveryThatCouldNotBeRead:
    async def broken(self, rig: Rig, monkeypatch: pytest.MonkeyPatch, words: str = "Hello") -> DeadLetter:
        """Of a gateway with a fault in its parser."""
        with monkeypatch.context() as old:
            old.setattr(twilio, "_incoming", lambda form: form["NoSuchField"])
            assert (await rig.text(words)).status == 204
        return await the_letter(rig)

    async def test_is_received_when_it_is_replayed_with_a_mended_parser(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        letter = await self.broken(rig, monkeypatch)
        assert (letter.kind, letter.name, letter.error) == ("inbound", "twilio-uk", "gateway_error")
        received = replay(rig)
        await received.run(letter)
        (event,) = await rig.events("message.received")
        assert event.data.message.text == "Hello"  # type: ignore[attr-defined]  # it is a MessageReceived
        assert [(told.type, known) for told, known in received.stored] == [
            ("sluiceway.conversation.opened", False),
            ("sluiceway.message.received", False),
        ]

    async def test_is_one_event_however_often_it_is_replayed(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        letter = await self.broken(rig, monkeypatch)
        told = []
        for _ in range(3):
            received = replay(rig)
            await received.run(letter)
            told.append([known for _, known in received.stored])
        assert told == [[False, False], [True], [True]]
        assert len(await rig.events("message.received")) == 1

    async def test_keeps_nothing_of_its_headers_and_query(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        letter = await self.broken(rig, monkeypatch)
        told = " ".join(f"{name}: {value}" for name, value in letter.headers.items()).lower()
        assert "signature" not in told
        assert "?" not in letter.headers["sluiceway-url"]
        assert letter.headers["sluiceway-url"].startswith(rig.hook_url)

    async def test_that_still_cannot_be_read_is_told_and_not_parked_again(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        letter = await self.broken(rig, monkeypatch)
        monkeypatch.setattr(twilio, "_incoming", lambda form: form["NoSuchField"])
        with pytest.raises(DeadLetterError, match="it still can't be used: KeyError in the gateway"):
            await replay(rig).run(letter)
        assert len(await rig.stream("DEAD")) == 1

    async def test_is_refused_under_another_identity_key(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        letter = await self.broken(rig, monkeypatch)
        with pytest.raises(ConfigError, match="is not the key"):
            await replay(rig, "another key, but long enough").run(letter)

    async def test_of_a_connection_that_is_gone_is_told(self, rig: Rig) -> None:
        with pytest.raises(DeadLetterError, match="no connection globex"):
            await replay(rig).run(a_letter(kind="inbound", name="globex"))

    async def test_without_its_delivery_cannot_be_replayed(self, rig: Rig) -> None:
        with pytest.raises(DeadLetterError, match="a part of a delivery"):
            await replay(rig).run(a_letter(kind="inbound", name="twilio-uk"))

    async def test_with_one_bad_entry_is_kept_whole(self, rig: Rig) -> None:
        request = signed(rig, "MessageSid=SM1&From=%2B447700900123&To=%2B447700900456&MessageStatus=dancing", "/status")
        assert (await rig.deliver(request)).status == 204
        letter = await the_letter(rig)
        assert letter.body == request.body
        assert letter.headers["sluiceway-subpath"] == "status"
        assert letter.headers["content-type"] == twilio_form()


async def test_a_delivery_to_a_number_that_is_configured_now_is_replayed(rig: Rig, tmp_path: Path) -> None:
    stranger = msgspec.structs.replace(rig.account().account, address="tel:+447700900999")
    await rig.deliver(rig.simulator.deliver(stranger, "+447700900456", "Hello"))
    (event,) = await rig.until_event("account.unknown")
    assert isinstance(event.data, AccountUnknown)
    letter = await letters(rig).at(event.data.sequence)
    with pytest.raises(DeadLetterError, match="no account here is"):
        await replay(rig).run(letter)
    served = rig.account()
    found = msgspec.structs.replace(served, account=stranger)
    rig.accounts._by_identity[served.connection, "+447700900999"] = found
    await replay(rig).run(letter)
    assert len(await rig.events("message.received")) == 1


async def test_letters_are_listed_by_tenant(rig: Rig) -> None:
    prefix = rig.core.nats.prefix
    for tenant in ("acme", "globex", "_", "acme"):
        await rig.link.publish(f"{prefix}.v1.{tenant}.dead.inbound.sms.c", b"raw")

    async def tenants(tenant: str | None) -> list[str]:
        return [letter.tenant async for letter in letters(rig).all(tenant)]

    assert await tenants(None) == ["acme", "globex", "_", "acme"]
    assert await tenants("acme") == ["acme", "acme"]
    assert await tenants("nobody") == []


async def test_a_message_on_its_usual_way_is_written_no_more_than_before(rig: Rig) -> None:
    """Intent and done in the ledger, whose receipts are whose, message.sent; and the conversation's own, once."""
    await rig.text("Hello")
    (received,) = await rig.events("message.received")
    before = await writes(rig)
    await rig.send("On its way.", conversation_id=received.subject)
    await rig.until_event("message.sent")
    await until(lambda: rig.provider.statuses.count(204) == 3, "three receipts")
    receipts = 3 * 2  # each raises the status and tells so
    assert await writes(rig) - before <= 4 + receipts


async def writes(rig: Rig) -> int:
    """Messages ever stored in events and ledger."""
    total = 0
    layout = Layout(rig.core.nats)
    for stream in (layout.events, f"KV_{layout.messages}", layout.dead, f"KV_{layout.identity}"):
        info = msgspec.json.decode((await rig.link.request(rig.link.api(f"STREAM.INFO.{stream}"))).data)
        total += info["state"]["last_seq"]
    return total
