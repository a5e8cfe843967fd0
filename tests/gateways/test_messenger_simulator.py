"""The simulators of Messenger and Instagram: what they deliver is read, and what they answer means what Meta means."""

import json
from typing import Any

import msgspec
import pytest

from sluiceway import (
    Ambiguous,
    CredentialsRefused,
    Outbound,
    Receipt,
    Received,
    Rejected,
    Request,
    Response,
    Seen,
    SendError,
    Simulator,
    Throttled,
    Unverified,
    Wanted,
    WindowClosed,
)
from sluiceway.simulator import Answer
from sluiceway.testing import deliver, play
from sluiceway_contracts import Choice, Media, MessageRef, Text
from sluiceway_gateways import _meta
from sluiceway_gateways._meta_messaging import Business
from sluiceway_gateways.instagram.meta_simulator import InstagramSimulator
from sluiceway_gateways.messenger.meta_simulator import MessengerSimulator

from .messaging import APP, CUSTOMER, FIRST, FOLLOWER, HOOK, INSTAGRAM, MESSENGER, OTHER, PAGE, PROFILE, SECOND

PSID, IGSID = CUSTOMER.partition("/")[2], FOLLOWER.partition("/")[2]


@pytest.fixture
def simulator() -> MessengerSimulator:
    return MessengerSimulator(APP, HOOK)


def received(simulator: MessengerSimulator, text: str = "Hello", **fields: str) -> Received:
    simulator.fields = fields
    (fact,) = deliver(MESSENGER, simulator.deliver(PAGE, PSID, text)).facts
    assert isinstance(fact, Received)
    return fact


def request(recipient: str = PSID, text: str = "On its way.", account: Business = PAGE, **changes: Any) -> Request:
    address = f"messenger:{account.id}/{recipient}"
    message = Outbound[Business](message_id="0", account=account, recipient=address, parts=(Text(text=text),))
    return msgspec.structs.replace(next(MESSENGER.send(message)), **changes)


def outcome(simulator: MessengerSimulator, asked: Request) -> SendError:
    response = simulator.answer(asked).response
    assert response.status >= 400
    return _meta.refusal(MESSENGER, response)


def mid(answer: Answer) -> str:
    assert answer.response.status == 200
    return str(json.loads(answer.response.body)["message_id"])


class TestDeliveries:
    def test_a_text_is_signed_and_from_the_customer(self, simulator: MessengerSimulator) -> None:
        fact = received(simulator)
        assert (fact.at, fact.sender, fact.parts[0].plain()) == (FIRST, CUSTOMER, "Hello")
        assert fact.reply_window_ends is not None

    def test_fields_say_more(self, simulator: MessengerSimulator) -> None:
        assert received(simulator, reply_to="m_1").reply_to == MessageRef(external_id="m_1")
        for field in ("quick_reply", "button"):
            (choice,) = received(simulator, "Yes", **{field: "YES"}).parts
            assert choice == Choice(id="1", option_ids=("YES",), titles=("Yes",), payload="YES")
        fact = received(simulator, image="https://cdn.example/1.png")
        text, image = fact.parts
        assert isinstance(image, Media)
        assert (text.plain(), fact.media) == ("Hello", {"2": "https://cdn.example/1.png"})

    def test_no_two_have_the_same_id(self, simulator: MessengerSimulator) -> None:
        assert received(simulator).key != received(simulator).key

    def test_the_hook_can_be_validated(self, simulator: MessengerSimulator) -> None:
        assert deliver(MESSENGER, simulator.validation(challenge="42")).reply.body == b"42"
        with pytest.raises(Unverified):
            MESSENGER.verify(simulator.validation("guess"))

    @pytest.mark.parametrize("type", [MessengerSimulator, InstagramSimulator])
    def test_its_docstring_says_what_it_does(self, type: type[Simulator[Any, Any]]) -> None:
        assert "155510-2" in (type.__doc__ or "")


class TestFiles:
    def served(self, simulator: MessengerSimulator, word: str) -> Response:
        (url,) = received(simulator, image=word).media.values()
        assert url.startswith(f"{APP.api_url}/media/")
        wanted = Wanted[Business](account=PAGE, reference=url, kind="image", mime="image/png")
        return simulator.answer(play(MESSENGER.locate(wanted))[0]).response

    def test_a_word_has_an_address_here_that_needs_no_token(self, simulator: MessengerSimulator) -> None:
        answer = self.served(simulator, "a cat?")
        assert (answer.status, answer.headers, answer.body[:4]) == (200, {"content-type": "image/png"}, b"\x89PNG")

    def test_a_word_may_say_what_becomes_of_it(self, simulator: MessengerSimulator) -> None:
        words = ("gone", "expired", "redirect", "throttled", "throttled")
        assert [self.served(simulator, word).status for word in words] == [404, 404, 302, 429, 200]


class TestAnswers:
    def test_a_message_is_taken_delivered_and_read(self, simulator: MessengerSimulator) -> None:
        answer = simulator.answer(request())
        (delivered,), (seen,) = (deliver(MESSENGER, later.request).facts for later in answer.later)
        assert isinstance(delivered, Receipt)
        assert isinstance(seen, Seen)
        assert (delivered.at, delivered.external_id, delivered.status) == (FIRST, mid(answer), "delivered")
        assert (seen.sender, seen.target, seen.occurred_at) == (CUSTOMER, "", delivered.occurred_at)

    def test_on_instagram_it_is_read_by_who_wrote_before(self) -> None:
        simulator = InstagramSimulator(APP, HOOK)
        message = Outbound[Business](message_id="0", account=PROFILE, recipient=FOLLOWER, parts=(Text(text="Hi"),))
        asked = next(INSTAGRAM.send(message))
        assert simulator.answer(asked).later == ()
        deliver(INSTAGRAM, simulator.deliver(PROFILE, IGSID, "Hello"))
        answer = simulator.answer(asked)
        (later,) = answer.later
        (seen,) = deliver(INSTAGRAM, later.request).facts
        assert isinstance(seen, Seen)
        assert (seen.sender, seen.target) == (FOLLOWER, mid(answer))

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("10-2018278", WindowClosed),
            ("190", CredentialsRefused),
            ("613", Throttled),
            ("551", Rejected),
            ("100-2018001", Rejected),
        ],
    )
    def test_errors_on_demand(self, simulator: MessengerSimulator, code: str, expected: type[SendError]) -> None:
        assert type(outcome(simulator, request(f"1555{code}"))) is expected

    def test_a_persons_answer_passes_the_window(self, simulator: MessengerSimulator) -> None:
        tagged = {
            "recipient": {"id": "155510-2018278"},
            "message": {"text": "Hi"},
            "messaging_type": "MESSAGE_TAG",
            "tag": "HUMAN_AGENT",
        }
        assert mid(simulator.answer(request(body=json.dumps(tagged).encode())))
        tagged["recipient"] = {"id": "1555551"}
        assert type(outcome(simulator, request(body=json.dumps(tagged).encode()))) is Rejected

    def test_silence_on_demand(self, simulator: MessengerSimulator) -> None:
        assert type(outcome(simulator, request("15570000"))) is Ambiguous

    def test_an_accounts_own_token_proves_itself(self, simulator: MessengerSimulator) -> None:
        asked = request("1", account=OTHER)
        assert mid(simulator.answer(asked))
        bare = msgspec.structs.replace(asked, url=f"https://graph.facebook.com/v23.0/{SECOND}/messages")
        assert type(outcome(simulator, bare)) is CredentialsRefused

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"headers": {}}, "190"),
            ({"method": "GET"}, "100"),
            ({"url": "https://graph.facebook.com/v23.0/1/media"}, "100"),
            ({"url": f"https://graph.facebook.com/v23.0/{FIRST}/messages?appsecret_proof=0"}, "100"),
            ({"body": b"{"}, "100"),
            ({"body": b"{}"}, "100"),
            ({"body": b'{"recipient": 1}'}, "100"),
            ({"body": b'{"recipient": {"id": "1"}}'}, "100"),
            ({"body": b'{"recipient": {"id": "1"}, "message": {}, "messaging_type": "RESPONSE"}'}, "100"),
            ({"body": b'{"recipient": {"id": "1"}, "message": {"text": "Hi"}}'}, "100"),
        ],
    )
    def test_what_meta_would_refuse_is_refused(
        self, simulator: MessengerSimulator, changes: dict[str, Any], code: str
    ) -> None:
        refused = outcome(simulator, request(**changes))
        assert isinstance(refused, Rejected)
        assert refused.provider_code == code

    def test_a_text_that_is_too_long_is_refused(self, simulator: MessengerSimulator) -> None:
        assert isinstance(outcome(simulator, request(text="x" * 2001)), Rejected)

    def test_marking_as_seen_is_taken(self, simulator: MessengerSimulator) -> None:
        body = b'{"recipient": {"id": "1"}, "sender_action": "mark_seen"}'
        answer = simulator.answer(request(body=body))
        assert (answer.response.status, answer.later) == (200, ())

    def test_files_are_taken(self, simulator: MessengerSimulator) -> None:
        body = b'{"recipient": {"id": "1"}, "messaging_type": "RESPONSE", "message": {"attachment": {}}}'
        assert mid(simulator.answer(request(body=body)))
