"""What a gateway reports, on its way to the stream: facts of every kind, and gateways that must ask or that break."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec
import pytest

from sluiceway import Consent, Flow, Intake, Received, Rejected, Request, Response, Unavailable, Unreadable
from sluiceway.gateway import AnyFact
from sluiceway.record import Record
from sluiceway.testing.ports import free_port
from sluiceway_contracts import ConsentChanged, ErrorDeadLetter, MessageReceived, Text
from sluiceway_contracts.values import now
from sluiceway_gateways.sms.twilio import TwilioSms

from .conftest import Rig

US, ANN = "+447700900123", "tel:+447700900456"


def a_text(words: str = "Hello", key: str = "1", **fields: Any) -> Received:
    return Received(**({"at": US, "key": key, "sender": ANN, "parts": (Text(text=words),)} | fields))


async def deliver(rig: Rig, monkeypatch: pytest.MonkeyPatch, *facts: AnyFact) -> int:
    """A signed delivery that the gateway reads as these facts; how it is answered."""
    monkeypatch.setattr(TwilioSms, "receive", lambda self, request: Intake(facts=facts, reply=Response(status=202)))
    return (await rig.text("")).status


async def test_facts_of_one_delivery_are_stored_in_order(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [a_text(str(n), str(n)) for n in range(10)]
    assert await deliver(rig, monkeypatch, *texts) == 202
    events = await rig.events("message.received")
    assert [event.data.message.text for event in events if isinstance(event.data, MessageReceived)] == list(
        "0123456789"
    )


async def test_the_same_fact_in_another_delivery_is_one_event(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        assert await deliver(rig, monkeypatch, a_text()) == 202
    assert len(await rig.events("message.received")) == 1


async def test_consent_is_told_once_with_its_contact(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Consent(at=US, key="7", address="TEL:+447700900456", state="revoked", evidence="STOP")
    for _ in range(2):
        assert await deliver(rig, monkeypatch, a_text("STOP"), stop) == 202
    (received,) = await rig.events("message.received")
    (told,) = await rig.events("consent.changed")
    assert isinstance(told.data, ConsentChanged)
    assert (told.data.address, told.data.state, told.data.channel, told.data.evidence) == (
        ANN,
        "revoked",
        "sms",
        "STOP",
    )
    assert (told.contactid, told.subject) == (received.contactid, received.subject)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (Unreadable(at=US, key="2", raw=b"entry 2", why="no sense in it"), "unreadable"),
        (a_text(key="2", sender="nobody"), "unreadable"),
        (Consent(at=US, key="2", address="nobody", state="revoked"), "unreadable"),
        (a_text(key="2", ext={"x": object()}), "gateway_error"),
    ],
)
async def test_one_bad_entry_spoils_only_itself(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, bad: AnyFact, code: str
) -> None:
    assert await deliver(rig, monkeypatch, a_text("before", "1"), bad, a_text("after", "3")) == 202
    assert len(await rig.events("message.received")) == 2
    (dead,) = await rig.events("error.dead_letter")
    assert isinstance(dead.data, ErrorDeadLetter)
    assert dead.data.error.code == code
    ((_, parked),) = await rig.stream("DEAD")
    assert b"Body=" in parked, "the whole delivery is kept, so that it can be replayed"


async def test_a_gateway_that_must_ask_first_is_answered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = f"http://{rig.provider.listen}/"

    def receive(self: TwilioSms, request: Request) -> Flow[Intake]:
        response = yield Request.get(asked)
        return Intake(facts=(a_text(f"answered {response.status}"),))

    monkeypatch.setattr(TwilioSms, "receive", receive)
    assert (await rig.text("")).status == 200
    (event,) = await rig.events("message.received")
    assert isinstance(event.data, MessageReceived)
    assert event.data.message.text.startswith("answered ")


async def test_where_the_provider_cannot_be_asked_it_is_told_to_come_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(self: TwilioSms, request: Request) -> Flow[Intake]:
        yield Request.get(f"http://127.0.0.1:{free_port()}/", repeatable=False)
        return Intake()

    monkeypatch.setattr(TwilioSms, "receive", receive)
    assert (await rig.text("")).status == 503
    assert await rig.events() == []
    assert await rig.stream("DEAD") == []


def rejected(self: TwilioSms, request: Request) -> NoReturn:
    raise Rejected("gone", "404")


def broken(self: TwilioSms, request: Request) -> NoReturn:
    raise ZeroDivisionError


def unavailable(self: TwilioSms, request: Request) -> NoReturn:
    raise Unavailable("not now")


@pytest.mark.parametrize(
    ("receive", "status", "codes"),
    [(rejected, None, ["unreadable"]), (broken, None, ["gateway_error"]), (unavailable, 503, [])],
)
async def test_a_gateway_that_breaks_has_its_delivery_parked_or_sent_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, receive: Any, status: int | None, codes: list[str]
) -> None:
    monkeypatch.setattr(TwilioSms, "receive", receive)
    assert (await rig.text("Hello")).status == (status or TwilioSms.accepted.status)
    dead = [event.data for event in await rig.events("error.dead_letter")]
    assert [data.error.code for data in dead if isinstance(data, ErrorDeadLetter)] == codes
    assert [b"Body=Hello" in data for _, data in await rig.stream("DEAD")] == [True for _ in codes]


async def test_a_fact_that_cannot_be_stored_sends_the_whole_delivery_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> NoReturn:
        raise Unavailable("not now")

    with monkeypatch.context() as patch:
        patch.setattr("sluiceway.stream.EventStream.publish", unavailable)
        assert await deliver(rig, monkeypatch, a_text()) == 503
    assert await deliver(rig, monkeypatch, a_text()) == 202
    assert len(await rig.events("message.received")) == 1


@pytest.mark.parametrize(
    "unstorable",
    [{"words": "x" * 2_000_000}, {"ext": {"note": "\udcfc"}}],
    ids=["too large for NATS", "no text that JSON holds"],
)
async def test_a_listeners_fact_that_nothing_can_store_is_parked_by_its_name_and_the_next_is_stored(
    rig: Rig, unstorable: dict[str, Any]
) -> None:
    stored = {"ext": {"raw": "media:acme/1"} | unstorable.pop("ext", {})} | unstorable
    record = Record(connection="twilio-uk", arrived_at=now(), facts=(a_text(key="bad", **stored), a_text(key="next")))
    await rig.service.inbound.accept(record)
    assert len(await rig.events("message.received")) == 1
    ((_, letter),) = await rig.stream("DEAD")
    assert msgspec.json.decode(letter) == {"at": US, "key": "bad", "raw": "media:acme/1"}
