"""The simulated Cloud API against its gateway: what it delivers is read, what it answers is understood."""

import json
from typing import Any

import msgspec
import pytest

from sluiceway import (
    Ambiguous,
    CredentialsRefused,
    OptedOut,
    Outbound,
    Receipt,
    Received,
    Rejected,
    Request,
    SendError,
    Simulator,
    Throttled,
    Unverified,
    WindowClosed,
)
from sluiceway.simulator import Answer
from sluiceway.testing import deliver
from sluiceway_contracts import Choice, Media, MessageRef, Text
from sluiceway_gateways import _meta
from sluiceway_gateways.whatsapp.cloud_simulator import WhatsAppSimulator

from .whatsapp import APP, CUSTOMER, FIRST, GATEWAY, HOOK, NUMBER, USER_ID


@pytest.fixture
def simulator() -> WhatsAppSimulator:
    return WhatsAppSimulator(APP, HOOK)


def received(
    simulator: WhatsAppSimulator, sender: str = "447700900456", text: str = "Hello", **fields: str
) -> Received:
    simulator.fields = fields
    (fact,) = deliver(GATEWAY, simulator.deliver(NUMBER, sender, text)).facts
    assert isinstance(fact, Received)
    return fact


def request(recipient: str, text: str = "On its way.", **changes: Any) -> Request:
    message = Outbound(message_id="0", account=NUMBER, recipient=recipient, parts=(Text(text=text),))
    asked = next(GATEWAY.send(message))
    return msgspec.structs.replace(asked, **changes)


def outcome(simulator: WhatsAppSimulator, asked: Request) -> SendError:
    response = simulator.answer(asked).response
    assert response.status >= 400
    return _meta.refusal(GATEWAY, response)


def receipts(answer: Answer) -> list[Receipt]:
    facts = [fact for later in answer.later for fact in deliver(GATEWAY, later.request).facts]
    return [fact for fact in facts if isinstance(fact, Receipt)]


class TestDeliveries:
    @pytest.mark.parametrize("sender", ["447700900456", "+447700900456"])
    def test_a_text_is_signed_and_from_the_number(self, simulator: WhatsAppSimulator, sender: str) -> None:
        fact = received(simulator, sender)
        assert (fact.at, fact.sender, fact.parts[0].plain()) == (FIRST, CUSTOMER, "Hello")
        assert fact.reply_window_ends is not None

    def test_a_customer_may_have_no_number(self, simulator: WhatsAppSimulator) -> None:
        assert received(simulator, USER_ID.partition(":")[2]).sender == USER_ID

    def test_fields_say_more(self, simulator: WhatsAppSimulator) -> None:
        fact = received(simulator, name="Someone", user_id=USER_ID.partition(":")[2], reply_to="wamid.1")
        assert (fact.name, fact.also, fact.reply_to) == ("Someone", (USER_ID,), MessageRef(external_id="wamid.1"))
        assert isinstance(received(simulator, button="yes").parts[0], Choice)
        image = received(simulator, text="Look", image="5000")
        assert isinstance(image.parts[0], Media)
        assert (image.parts[0].caption, image.media) == ("Look", {"1": "5000"})

    def test_no_two_have_the_same_id(self, simulator: WhatsAppSimulator) -> None:
        assert received(simulator).key != received(simulator).key

    def test_the_hook_can_be_validated(self, simulator: WhatsAppSimulator) -> None:
        assert deliver(GATEWAY, simulator.validation(challenge="42")).reply.body == b"42"
        with pytest.raises(Unverified):
            GATEWAY.verify(simulator.validation("guess"))

    def test_its_docstring_says_what_it_does(self) -> None:
        assert issubclass(WhatsAppSimulator, Simulator)
        assert "1555131047" in (WhatsAppSimulator.__doc__ or "")


class TestAnswers:
    @pytest.mark.parametrize("recipient", [CUSTOMER, USER_ID])
    def test_a_message_is_taken_sent_delivered_and_read(self, simulator: WhatsAppSimulator, recipient: str) -> None:
        answer = simulator.answer(request(recipient))
        id = json.loads(answer.response.body)["messages"][0]["id"]
        assert answer.response.status == 200
        found = receipts(answer)
        assert [(fact.external_id, fact.status) for fact in found] == [(id, s) for s in ("sent", "delivered", "read")]
        assert found[0].ext["pricing_model"] == "PMP"
        assert [later.after_s for later in answer.later] == sorted(later.after_s for later in answer.later)

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("131047", WindowClosed),
            ("131050", OptedOut),
            ("131056", Throttled),
            ("190", CredentialsRefused),
            ("131000", Throttled),
            ("131053", Rejected),
        ],
    )
    def test_errors_on_demand(self, simulator: WhatsAppSimulator, code: str, expected: type[SendError]) -> None:
        assert type(outcome(simulator, request(f"whatsapp:1555{code}"))) is expected

    def test_failures_on_demand(self, simulator: WhatsAppSimulator) -> None:
        (fact,) = receipts(simulator.answer(request("whatsapp:1556131026")))
        assert fact.error is not None
        assert (fact.status, fact.error.provider_code) == ("failed", "131026")

    def test_a_number_that_only_begins_alike_is_a_number(self, simulator: WhatsAppSimulator) -> None:
        assert simulator.answer(request("whatsapp:15550000000")).response.status == 200
        assert len(simulator.answer(request("whatsapp:15560000000")).later) == 3
        assert len(simulator.answer(request("whatsapp:1556100/33")).later) == 3

    def test_silence_on_demand(self, simulator: WhatsAppSimulator) -> None:
        assert type(outcome(simulator, request("whatsapp:15570000"))) is Ambiguous

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"headers": {}}, "190"),
            ({"method": "GET"}, "33"),
            ({"url": "https://graph.facebook.com/v23.0/1/calls"}, "33"),
            ({"url": "https://graph.facebook.com/v23.0/me/messages"}, "33"),
            ({"url": "https://graph.facebook.com/v23.0/me/media"}, "33"),
            ({"url": "https://graph.facebook.com/"}, "33"),
            ({"url": "https://graph.facebook.com/v23.0/1/media"}, "100"),
            ({"url": f"https://graph.facebook.com/v23.0/{FIRST}/messages?appsecret_proof=0"}, "100"),
            ({"body": b"{"}, "100"),
            ({"body": b"{}"}, "100"),
            ({"body": b'{"messaging_product": "whatsapp"}'}, "131008"),
            (
                {"body": b'{"messaging_product": "whatsapp", "to": "1", "recipient": "1", "type": "text", "text": 1}'},
                "131009",
            ),
            ({"body": b'{"messaging_product": "whatsapp", "to": "1", "type": "x", "x": 1}'}, "131051"),
            ({"body": b'{"messaging_product": "whatsapp", "to": "1", "type": "text", "text": 1}'}, "131009"),
            (
                {"body": b'{"messaging_product": "whatsapp", "to": "1", "type": ["text"]}'},
                "131008",
            ),
        ],
    )
    def test_what_meta_would_refuse_is_refused(
        self, simulator: WhatsAppSimulator, changes: dict[str, Any], code: str
    ) -> None:
        refused = outcome(simulator, request(CUSTOMER, **changes))
        assert isinstance(refused, Rejected)
        assert refused.provider_code == code

    def test_a_text_that_is_too_long_is_refused(self, simulator: WhatsAppSimulator) -> None:
        refused = outcome(simulator, request(CUSTOMER, "x" * 4097))
        assert isinstance(refused, Rejected)
        assert refused.provider_code == "131009"

    def test_other_messages_than_texts_are_taken(self, simulator: WhatsAppSimulator) -> None:
        body = b'{"messaging_product": "whatsapp", "to": "447700900456", "type": "image", "image": {"id": "1"}}'
        assert simulator.answer(request(CUSTOMER, body=body)).response.status == 200

    def test_marking_as_read_is_taken(self, simulator: WhatsAppSimulator) -> None:
        body = b'{"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.1"}'
        answer = simulator.answer(request(CUSTOMER, body=body))
        assert (answer.response.body, answer.later) == (b'{"success":true}', ())
