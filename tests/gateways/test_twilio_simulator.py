"""The simulator between Twilio's official client on one side and our gateway on the other."""

import datetime
import email.utils
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]  # it has no py.typed
from twilio.http.response import Response as SdkResponse  # type: ignore[import-untyped]  # as above
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # as above
from twilio.rest import Client  # type: ignore[import-untyped]  # as above

from sluiceway import (
    Ambiguous,
    Answer,
    Consent,
    CredentialsRefused,
    OptedOut,
    Outbound,
    Receipt,
    Received,
    Rejected,
    Request,
    Response,
    Secret,
    SendError,
    Sent,
    Throttled,
    Wanted,
)
from sluiceway.testing import deliver, play
from sluiceway_contracts import Media, Text
from sluiceway_gateways._twilio import Connection
from sluiceway_gateways.sms.twilio import Number, TwilioSms
from sluiceway_gateways.sms.twilio_simulator import TwilioSimulator

from .conftest import HOOK, TOKEN

SERVICE = "MG" + "b" * 32
CUSTOMER = "+447700900456"
OURS = "+447700900123"


@pytest.fixture
def simulator(connection: Connection) -> TwilioSimulator:
    return TwilioSimulator(connection, HOOK)


@pytest.fixture
def in_service(number: Number) -> Number:
    return msgspec.structs.replace(number, messaging_service=SERVICE)


class Wire:
    """The official client's HTTP client: the request goes to the simulator instead of a socket."""

    def __init__(self, simulator: TwilioSimulator) -> None:
        self.simulator = simulator
        self.answer = Answer(Response())

    def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> object:
        form = urlencode({name: value for name, value in (data or {}).items() if value is not None}, doseq=True)
        request = Request.post_form(url, parse_qsl(form, keep_blank_values=True), basic=auth)
        self.answer = self.simulator.answer(msgspec.structs.replace(request, method=method))
        response = self.answer.response
        return SdkResponse(response.status, response.body.decode(), response.headers)


@pytest.fixture
def wire(simulator: TwilioSimulator) -> Wire:
    return Wire(simulator)


@pytest.fixture
def client(wire: Wire) -> Client:
    return Client("AC" + "a" * 32, TOKEN, http_client=wire)


def statuses(answer: Answer) -> list[str]:
    return [later.request.form["MessageStatus"] for later in answer.later]


class TestWithTheOfficialClient:
    def test_a_message_is_queued_and_the_client_reads_every_field(self, client: Client) -> None:
        message = client.messages.create(to=CUSTOMER, from_=OURS, body="Hello")
        assert message.sid.startswith("SM")
        assert (message.to, message.from_, message.body) == (CUSTOMER, OURS, "Hello")
        assert (message.status, message.direction) == ("queued", "outbound-api")
        assert (message.num_segments, message.num_media) == ("1", "0")
        assert (message.price, message.price_unit, message.error_code) == (None, "USD", None)
        assert message.account_sid == "AC" + "a" * 32
        assert message.uri == f"/2010-04-01/Accounts/AC{'a' * 32}/Messages/{message.sid}.json"
        assert message.messaging_service_sid is None
        assert isinstance(message.date_created, datetime.datetime)

    def test_a_service_chooses_the_sender(self, client: Client, wire: Wire) -> None:
        message = client.messages.create(
            to=CUSTOMER, messaging_service_sid=SERVICE, body="Hello", status_callback=f"{HOOK}/status"
        )
        assert (message.status, message.from_, message.num_segments) == ("accepted", None, "0")
        assert message.messaging_service_sid == SERVICE
        callback = wire.answer.later[0].request.form
        assert (callback["From"], callback["MessagingServiceSid"]) == ("+15005550006", SERVICE)

    def test_media_make_it_an_mms(self, client: Client) -> None:
        message = client.messages.create(
            to=CUSTOMER, from_=OURS, media_url=["https://m.example/1", "https://m.example/2"]
        )
        assert message.sid.startswith("MM")
        assert message.num_media == "2"

    def test_without_a_callback_url_nothing_follows(self, client: Client, wire: Wire) -> None:
        client.messages.create(to=CUSTOMER, from_=OURS, body="Hello")
        assert wire.answer.later == ()

    def test_status_callbacks_are_signed_as_the_official_validator_wants(self, client: Client, wire: Wire) -> None:
        client.messages.create(to=CUSTOMER, from_=OURS, body="Hi", status_callback=f"{HOOK}/status#rc=5&rp=all")
        assert statuses(wire.answer) == ["queued", "sent", "delivered"]
        assert [later.after_s for later in wire.answer.later] == [0.1, 0.3, 0.6]
        for later in wire.answer.later:
            assert_genuine(later.request)
            assert later.request.url == f"{HOOK}/status"

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"to": ""}, 21604),
            ({"from_": ""}, 21603),
            ({"body": " "}, 21602),
            ({"body": "x" * 1601}, 21617),
            ({"media_url": ["https://m.example/1"] * 11}, 21623),
            ({"to": "07700 900456"}, 21211),
            ({"to": "+15005550001"}, 21211),
            ({"to": "+15005550002"}, 21612),
            ({"to": "+15005550003"}, 21408),
            ({"to": "+15005550004"}, 21610),
            ({"to": "+15005550009"}, 21614),
            ({"from_": "+15005550001"}, 21212),
            ({"from_": "+15005550007"}, 21606),
            ({"from_": "+15005550008"}, 21611),
        ],
    )
    def test_a_wrong_request_is_refused_by_code(self, client: Client, change: dict[str, object], code: int) -> None:
        with pytest.raises(TwilioRestException) as caught:
            client.messages.create(**({"to": CUSTOMER, "from_": OURS, "body": "Hello"} | change))
        assert (caught.value.status, caught.value.code) == (400, code)

    def test_a_short_code_is_a_recipient(self, client: Client) -> None:
        assert client.messages.create(to="60300", from_=OURS, body="Hello").status == "queued"

    @pytest.mark.parametrize(("to", "status", "code"), [("+15005550429", 429, 20429), ("+15005550500", 500, 20500)])
    def test_the_magic_numbers_of_trouble(self, client: Client, to: str, status: int, code: int) -> None:
        with pytest.raises(TwilioRestException) as caught:
            client.messages.create(to=to, from_=OURS, body="Hello")
        assert (caught.value.status, caught.value.code) == (status, code)

    def test_a_wrong_password_is_refused(self, wire: Wire) -> None:
        with pytest.raises(TwilioRestException) as caught:
            Client("AC" + "a" * 32, "wrong", http_client=wire).messages.create(to=CUSTOMER, from_=OURS, body="Hello")
        assert (caught.value.status, caught.value.code) == (401, 20003)

    def test_there_is_no_other_resource(self, client: Client) -> None:
        with pytest.raises(TwilioRestException) as caught:
            client.messages("SM" + "0" * 32).fetch()
        assert (caught.value.status, caught.value.code) == (404, 20404)
        with pytest.raises(TwilioRestException) as caught:
            client.calls.create(to=CUSTOMER, from_=OURS, twiml="<Response/>")
        assert caught.value.code == 20404

    def test_a_body_that_is_no_form_has_no_recipient(self, simulator: TwilioSimulator, connection: Connection) -> None:
        url = f"{connection.api_url}/2010-04-01/Accounts/{connection.sid}/Messages.json"
        headers = Request.get(url, basic=connection.basic).headers
        answer = simulator.answer(Request(method="POST", url=url, headers=headers, body=b"{}"))
        assert answer.response.json(dict[str, object])["code"] == 21604


def assert_genuine(request: Request) -> None:
    signature = request.headers["x-twilio-signature"]
    assert RequestValidator(TOKEN).validate(request.url, dict(request.form.pairs), signature)
    assert request.headers["user-agent"] == "TwilioProxy/1.1"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded; charset=UTF-8"


class TestDeliveries:
    def test_a_text_has_the_fields_of_a_recorded_one(
        self, simulator: TwilioSimulator, number: Number, sample: Callable[[str], bytes]
    ) -> None:
        request = simulator.deliver(number, CUSTOMER, "Hello & welcome! é 1+1=2 ")
        assert_genuine(request)
        recorded = dict(parse_qsl(sample("text.form").decode(), keep_blank_values=True))
        assert [name for name, _ in request.form.pairs] == list(recorded)
        sids = {"MessageSid", "SmsSid", "SmsMessageSid"}
        assert {k: v for k, v in request.form.items() if k not in sids} == {
            k: v for k, v in recorded.items() if k not in sids
        }

    def test_the_gateway_reads_it(self, simulator: TwilioSimulator, gateway: TwilioSms, number: Number) -> None:
        (fact,) = deliver(gateway, simulator.deliver(number, CUSTOMER, "Where is my order?")).facts
        assert isinstance(fact, Received)
        assert (fact.at, fact.sender, fact.parts) == (
            OURS,
            f"tel:{CUSTOMER}",
            (Text(id="1", text="Where is my order?"),),
        )

    def test_the_same_text_again_is_another_message(self, simulator: TwilioSimulator, number: Number) -> None:
        sids = {simulator.deliver(number, CUSTOMER, "Hello").form["MessageSid"] for _ in range(5)}
        assert len(sids) == 5

    @pytest.mark.parametrize(
        ("text", "segments"),
        [
            ("x" * 160, 1),
            ("x" * 161, 2),
            ("x" * 306, 2),
            ("x" * 307, 3),
            ("€" * 80, 1),
            ("€" * 81, 2),
            ("ж" * 70, 1),
            ("ж" * 71, 2),
            ("🙂" * 35, 1),
            ("🙂" * 36, 2),
            ("", 1),
        ],
    )
    def test_segments_are_counted_as_twilio_does(
        self, simulator: TwilioSimulator, number: Number, text: str, segments: int
    ) -> None:
        assert simulator.deliver(number, CUSTOMER, text).form["NumSegments"] == str(segments)

    @pytest.mark.parametrize(
        ("text", "kind"), [("Stop", "STOP"), ("start ", "START"), ("HELP", "HELP"), ("Stop it", None)]
    )
    def test_a_messaging_service_marks_opt_out_words(
        self, simulator: TwilioSimulator, in_service: Number, text: str, kind: str | None
    ) -> None:
        assert simulator.deliver(in_service, CUSTOMER, text).form.get("OptOutType") == kind

    def test_a_sender_of_no_known_country_has_none(self, simulator: TwilioSimulator, number: Number) -> None:
        assert simulator.deliver(number, "60300", "Hello").form["FromCountry"] == ""


def send(simulator: TwilioSimulator, gateway: TwilioSms, number: Number, to: str = CUSTOMER) -> tuple[Sent, Answer]:
    """One message through gateway and simulator."""
    outbound = Outbound(message_id="m", account=number, recipient=f"tel:{to}", parts=(Text(text="Hello"),))
    flow = gateway.send(outbound)
    answer = simulator.answer(next(flow))
    with pytest.raises(StopIteration) as stop:
        flow.send(answer.response)
    sent = stop.value.value
    assert isinstance(sent, Sent)
    return sent, answer


class TestWithOurGateway:
    def test_a_message_is_sent_and_its_receipts_come_in(
        self, simulator: TwilioSimulator, gateway: TwilioSms, number: Number
    ) -> None:
        sent, answer = send(simulator, gateway, number)
        assert sent.segments == 1
        facts = [fact for later in answer.later for fact in deliver(gateway, later.request).facts]
        receipts = [fact for fact in facts if isinstance(fact, Receipt)]
        assert [fact.status for fact in receipts] == ["queued", "sent", "delivered"]
        assert {(fact.at, fact.external_id) for fact in receipts} == {(OURS, sent.external_id)}

    @pytest.mark.parametrize(
        ("to", "code"), [("+15005553003", "30003"), ("+15005553005", "30005"), ("+15005553007", "30007")]
    )
    def test_a_message_may_not_arrive(
        self, simulator: TwilioSimulator, gateway: TwilioSms, number: Number, to: str, code: str
    ) -> None:
        _, answer = send(simulator, gateway, number, to)
        *_, last = [deliver(gateway, later.request).facts[0] for later in answer.later]
        assert isinstance(last, Receipt)
        assert last.status == "failed"
        assert last.error is not None
        assert last.error.provider_code == code

    def test_a_receipt_may_tell_of_an_opt_out(
        self, simulator: TwilioSimulator, gateway: TwilioSms, number: Number
    ) -> None:
        _, answer = send(simulator, gateway, number, "+15005551610")
        facts = deliver(gateway, answer.later[-1].request).facts
        assert isinstance(facts[1], Consent)

    @pytest.mark.parametrize(
        ("to", "error"),
        [
            ("+15005550001", Rejected),
            ("+15005550004", OptedOut),
            ("+15005550429", Throttled),
            ("+15005550500", Ambiguous),
        ],
    )
    def test_trouble_is_raised(
        self, simulator: TwilioSimulator, gateway: TwilioSms, number: Number, to: str, error: type[SendError]
    ) -> None:
        with pytest.raises(error):
            send(simulator, gateway, number, to)

    def test_who_said_stop_is_not_written_to_until_start(
        self, simulator: TwilioSimulator, gateway: TwilioSms, number: Number
    ) -> None:
        simulator.deliver(number, CUSTOMER, " stop")
        with pytest.raises(OptedOut):
            send(simulator, gateway, number)
        send(simulator, gateway, number, "+447700900789")
        simulator.deliver(number, CUSTOMER, "START")
        send(simulator, gateway, number)

    def test_in_a_service_stop_holds_for_all_its_numbers(
        self, simulator: TwilioSimulator, gateway: TwilioSms, in_service: Number
    ) -> None:
        simulator.deliver(in_service, CUSTOMER, "STOP")
        with pytest.raises(OptedOut):
            send(simulator, gateway, msgspec.structs.replace(in_service, address="tel:+447700900124"))

    def test_an_api_key_is_a_login_too(self, number: Number) -> None:
        keyed = Connection(
            sid="AC" + "a" * 32, token=Secret(TOKEN), api_key_sid="SK" + "c" * 32, api_key_secret=Secret("hush")
        )
        sent, _ = send(TwilioSimulator(keyed, HOOK), TwilioSms(keyed, HOOK), number)
        assert sent.external_id
        with pytest.raises(CredentialsRefused):
            send(TwilioSimulator(keyed, HOOK), TwilioSms(wrong(keyed), HOOK), number)


def wrong(connection: Connection) -> Connection:
    return msgspec.structs.replace(connection, api_key_secret=Secret("wrong"))


def test_times_are_those_of_rfc_2822(simulator: TwilioSimulator, gateway: TwilioSms, number: Number) -> None:
    _, answer = send(simulator, gateway, number)
    created = answer.response.json(dict[str, object])["date_created"]
    assert isinstance(created, str)
    assert email.utils.parsedate_to_datetime(created).utcoffset() == datetime.timedelta(0)


class TestMedia:
    def located(self, gateway: TwilioSms, simulator: TwilioSimulator, number: Number, word: str) -> Request:
        """What the gateway asks for, where a customer sent this."""
        simulator.fields = {"media": word}
        (fact,) = deliver(gateway, simulator.deliver(number, CUSTOMER, "Look")).facts
        assert isinstance(fact, Received)
        assert fact.key.startswith("MM")
        part = fact.parts[1]
        assert isinstance(part, Media)
        wanted = Wanted(account=number, reference=fact.media["2"], kind=part.kind, mime=part.mime)
        return play(gateway.locate(wanted))[0]

    def fetched(self, gateway: TwilioSms, simulator: TwilioSimulator, number: Number, word: str) -> Response:
        """What comes of it, after Twilio's own redirect."""
        answer = simulator.answer(self.located(gateway, simulator, number, word)).response
        if answer.status != 307:
            return answer
        at = answer.headers["location"]
        assert at.startswith("https://api.twilio.com/media/AC")
        return simulator.answer(Request.get(at)).response

    @pytest.mark.parametrize(
        ("word", "mime", "start"),
        [
            ("cat", "image/png", b"\x89PNG"),
            ("a word of more than sixteen letters é", "image/png", b"\x89PNG"),
            ("clip.mp4", "video/mp4", b"\0\0\0\x18ftyp"),
            ("liar", "image/jpeg", b"<!doctype html>"),
            ("empty", "image/jpeg", b""),
        ],
    )
    def test_a_word_is_a_file(
        self, gateway: TwilioSms, simulator: TwilioSimulator, number: Number, word: str, mime: str, start: bytes
    ) -> None:
        answer = self.fetched(gateway, simulator, number, word)
        assert (answer.status, answer.headers["content-type"]) == (200, mime)
        assert answer.body.startswith(start)

    @pytest.mark.parametrize(("word", "status"), [("gone", 404), ("expired", 404), ("redirect", 302)])
    def test_a_word_may_say_what_becomes_of_it(
        self, gateway: TwilioSms, simulator: TwilioSimulator, number: Number, word: str, status: int
    ) -> None:
        assert self.fetched(gateway, simulator, number, word).status == status

    def test_the_first_who_asks_may_have_to_come_again(
        self, gateway: TwilioSms, simulator: TwilioSimulator, number: Number
    ) -> None:
        statuses = [self.fetched(gateway, simulator, number, "throttled").status for _ in range(4)]
        assert statuses == [429, 200, 429, 200]

    def test_another_simulator_knows_the_file_by_its_address(
        self, gateway: TwilioSms, simulator: TwilioSimulator, number: Number, connection: Connection
    ) -> None:
        asked = self.located(gateway, simulator, number, "gone")
        assert TwilioSimulator(connection, HOOK).answer(asked).response.status == 404

    def test_without_a_login_nothing_is_told(
        self, gateway: TwilioSms, simulator: TwilioSimulator, number: Number
    ) -> None:
        asked = self.located(gateway, simulator, number, "cat")
        assert simulator.answer(Request.get(asked.url)).response.status == 401
