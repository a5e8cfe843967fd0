"""TwilioSms on recorded payloads: what deliveries come to, and what is asked of Twilio."""

import inspect
import json
import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.rest import Client  # type: ignore[import-untyped]  # it has no py.typed
from twilio.rest.api.v2010.account.message import MessageList  # type: ignore[import-untyped]  # as above
from twilio.twiml.messaging_response import MessagingResponse  # type: ignore[import-untyped]  # as above

from sluiceway import (
    Ambiguous,
    Consent,
    CredentialsRefused,
    Intake,
    Malformed,
    OptedOut,
    Outbound,
    Outcome,
    Receipt,
    Received,
    Rejected,
    Request,
    Response,
    Secret,
    SendError,
    Sent,
    Throttled,
    Unreachable,
    Unreadable,
    Unverified,
    Wanted,
)
from sluiceway.testing import deliver, play
from sluiceway_contracts import (
    STATUS_ORDER,
    TERMINAL,
    AnyPart,
    Choices,
    Media,
    Option,
    Price,
    Text,
    addresses,
)
from sluiceway_gateways import _twilio_errors as errors
from sluiceway_gateways._twilio import Connection
from sluiceway_gateways.sms import twilio
from sluiceway_gateways.sms.twilio import Number, TwilioSms

from .conftest import HOOK, SAMPLES, TOKEN

Sample = Callable[[str], bytes]
Signed = Callable[..., Request]
SERVICE = "MG" + "b" * 32
CUSTOMER = "tel:+447700900456"
MEDIA_URL = "https://media.example/cat.jpg"


@pytest.fixture(scope="session")
def taken_in(gateway: TwilioSms, sample: Sample, signed: Signed) -> Callable[[str], Intake]:
    """A recorded delivery, taken in."""
    return lambda case: deliver(gateway, signed(sample(f"{case}.form"), "status" if "status" in case else ""))


Taken = Callable[[str], Intake]


def received(intake: Intake) -> Received:
    fact = intake.facts[0]
    assert isinstance(fact, Received)
    return fact


def receipt(intake: Intake) -> Receipt:
    fact = intake.facts[0]
    assert isinstance(fact, Receipt)
    return fact


class TestIncoming:
    def test_a_text(self, taken_in: Taken) -> None:
        sid = "SM00000000000000000000000000000101"
        assert taken_in("text").facts == (
            Received(
                at="+447700900123",
                key=sid,
                sender=CUSTOMER,
                parts=(Text(id="1", text="Hello & welcome! é 1+1=2 "),),
                external_ids=(sid,),
                ext={"segments": 1, "country": "GB"},
            ),
        )

    def test_a_text_to_a_messaging_service_names_it(self, taken_in: Taken) -> None:
        assert received(taken_in("text-to-service")).ext["messaging_service"] == SERVICE

    def test_a_long_text_arrives_whole(self, taken_in: Taken) -> None:
        fact = received(taken_in("text-long"))
        assert fact.ext["segments"] == 3
        assert fact.parts == (Text(id="1", text="Guten Tag, " + "Grüße aus Köln und Dank für alles 🙂 " * 5),)

    def test_an_empty_text_is_still_a_message(self, taken_in: Taken) -> None:
        assert received(taken_in("text-empty")).parts == (Text(id="1", text=""),)

    @pytest.mark.parametrize(
        ("case", "sender"), [("text-from-short-code", "x-twilio:60300"), ("text-from-name", "x-twilio:ACME%20Post")]
    )
    def test_who_is_no_e164_number_has_an_address_all_the_same(
        self, taken_in: Taken, gateway: TwilioSms, number: Number, case: str, sender: str
    ) -> None:
        fact = received(taken_in(case))
        assert fact.sender == addresses.normalise(sender)
        account = msgspec.structs.replace(number, address=fact.sender)
        assert gateway.identity(account) in ("60300", "ACME Post")

    def test_media_without_text(self, taken_in: Taken) -> None:
        fact = received(taken_in("mms"))
        base = (
            f"https://api.twilio.com/2010-04-01/Accounts/AC{'a' * 32}/Messages/MM00000000000000000000000000000201/Media"
        )
        assert fact.key == "MM00000000000000000000000000000201"
        assert fact.parts == (
            Media(id="1", kind="image", mime="image/jpeg", state="pending"),
            Media(id="2", kind="image", mime="image/png", state="pending"),
        )
        assert fact.media == {"1": f"{base}/ME{'c' * 32}", "2": f"{base}/ME{'d' * 32}"}

    def test_media_with_text_in_twilios_order(self, taken_in: Taken) -> None:
        fact = received(taken_in("mms-with-text"))
        text, *media = fact.parts
        assert text == Text(id="1", text="It looks like this")
        assert [(id, url[-1]) for id, url in fact.media.items()] == [("2", "c"), ("3", "d"), ("4", "e")]
        assert [(part.kind, part.mime) for part in media if isinstance(part, Media)] == [
            ("video", "video/3gpp"),
            ("file", "text/x-vcard"),
            ("file", "application/octet-stream"),
        ]

    def test_the_reply_is_the_official_empty_twiml(self, taken_in: Taken) -> None:
        reply = taken_in("text").reply
        assert reply.status == 200
        assert reply.headers == {"content-type": "text/xml"}
        assert reply.body.decode() == str(MessagingResponse())

    def test_the_same_delivery_again_is_the_same_facts(self, taken_in: Taken) -> None:
        assert taken_in("stop") == taken_in("stop")

    @pytest.mark.parametrize("case", ["whatsapp", "status-whatsapp-read"])
    def test_another_channel_is_refused_with_a_remedy_and_no_number(self, taken_in: Taken, case: str) -> None:
        with pytest.raises(Malformed, match="on the channel whatsapp, not SMS: give that sender's webhook") as caught:
            taken_in(case)
        assert "7700" not in str(caught.value)

    @pytest.mark.parametrize("field", ["MessageSid", "From", "To", "Body", "MediaUrl1"])
    def test_a_missing_field_is_named(self, gateway: TwilioSms, sample: Sample, signed: Signed, field: str) -> None:
        pairs = parse_qsl(sample("mms.form").decode(), keep_blank_values=True)
        body = urlencode([pair for pair in pairs if pair[0] != field]).encode()
        with pytest.raises(Malformed, match=f"the field {field} is missing"):
            deliver(gateway, signed(body))

    @pytest.mark.parametrize(
        ("given_", "wanted", "why"),
        [
            (b"NumMedia=0", b"NumMedia=many", "NumMedia is no number"),
            (b"NumMedia=0", b"NumMedia=99999", "NumMedia is no number"),
            (b"From=%2B447700900456", b"From=" + b"A" * 257, "neither a number nor a name"),
        ],
    )
    def test_nonsense_is_malformed(
        self, gateway: TwilioSms, sample: Sample, signed: Signed, given_: bytes, wanted: bytes, why: str
    ) -> None:
        body = sample("text.form")
        assert given_ in body
        with pytest.raises(Malformed, match=why):
            deliver(gateway, signed(body.replace(given_, wanted)))

    def test_a_subaccounts_delivery_is_taken_where_the_token_signed_it(
        self, gateway: TwilioSms, sample: Sample, signed: Signed
    ) -> None:
        body = sample("text.form").replace(b"AC" + b"a" * 32, b"AC" + b"f" * 32)
        assert received(deliver(gateway, signed(body))).at == "+447700900123"

    def test_an_unsigned_delivery_is_refused(self, gateway: TwilioSms, sample: Sample, signed: Signed) -> None:
        request = signed(sample("text.form"))
        forged = Request(method="POST", url=request.url + "/", headers=request.headers, body=request.body)
        with pytest.raises(Unverified):
            deliver(gateway, forged)


class TestConsent:
    @pytest.mark.parametrize(("case", "state", "said"), [("stop", "revoked", "Stop"), ("start", "granted", "START")])
    def test_an_opt_out_word_is_a_message_and_a_consent(
        self, taken_in: Taken, case: str, state: str, said: str
    ) -> None:
        message, consent = taken_in(case).facts
        assert isinstance(message, Received)
        assert message.parts == (Text(id="1", text=said),)
        assert message.ext["opt_out"] == case
        assert consent == Consent(at=message.at, key=message.key, address=CUSTOMER, state=state, evidence=said)

    @pytest.mark.parametrize("case", ["help", "stop-without-advanced-opt-out"])
    def test_anything_else_changes_no_consent(self, taken_in: Taken, case: str) -> None:
        (fact,) = taken_in(case).facts
        assert isinstance(fact, Received)

    def test_a_receipt_that_says_opted_out_revokes_consent(self, taken_in: Taken) -> None:
        told, consent = taken_in("status-failed-opted-out").facts
        assert isinstance(told, Receipt)
        assert consent == Consent(
            at="+447700900123",
            key=told.external_id,
            address=CUSTOMER,
            state="revoked",
            method="provider",
            evidence="21610",
        )

    def test_without_a_recipient_there_is_the_receipt_alone(self, taken_in: Taken) -> None:
        (fact,) = taken_in("status-failed-opted-out-without-to").facts
        assert isinstance(fact, Receipt)


class TestStatus:
    @pytest.mark.parametrize(("word", "status"), twilio.STATUS.items())
    def test_every_documented_status_is_a_word_of_the_contract(
        self, gateway: TwilioSms, sample: Sample, signed: Signed, word: str, status: str
    ) -> None:
        body = sample("status-sent.form").replace(b"Status=sent", f"Status={word}".encode())
        fact = receipt(deliver(gateway, signed(body, "status")))
        assert fact.status == status
        assert fact.status in STATUS_ORDER or fact.status in TERMINAL
        assert fact.key == f"SM00000000000000000000000000000501:{word}"

    def test_twilios_shortest_callback_suffices(self, taken_in: Taken) -> None:
        intake = taken_in("status-sent")
        sid = "SM00000000000000000000000000000501"
        assert intake.facts == (Receipt(at="+447700900123", key=f"{sid}:sent", external_id=sid, status="sent"),)
        assert intake.reply == Response(status=204)

    def test_a_callback_at_the_hook_itself_is_known_by_its_status(
        self, gateway: TwilioSms, sample: Sample, signed: Signed
    ) -> None:
        intake = deliver(gateway, signed(sample("status-delivered.form")))
        assert receipt(intake).status == "delivered"
        assert intake.reply.status == 204

    def test_a_message_at_the_status_path_is_a_message(
        self, gateway: TwilioSms, sample: Sample, signed: Signed
    ) -> None:
        assert received(deliver(gateway, signed(sample("text.form"), "status"))).sender == CUSTOMER

    @pytest.mark.parametrize(
        ("case", "status", "code", "retryable", "provider_code"),
        [
            ("undelivered", "failed", "failed", False, "30003"),
            ("failed-throttled", "failed", "throttled", True, "30022"),
            ("failed-opted-out", "failed", "opted_out", False, "21610"),
            ("failed-new-code", "failed", "failed", False, "39999"),
        ],
    )
    def test_an_error_is_classified(
        self, taken_in: Taken, case: str, status: str, code: str, retryable: bool, provider_code: str
    ) -> None:
        fact = receipt(taken_in(f"status-{case}"))
        assert fact.status == status
        assert fact.error is not None
        assert (fact.error.code, fact.error.retryable) == (code, retryable)
        assert fact.error.provider_code == provider_code

    def test_a_new_code_is_told_in_twilios_words(self, taken_in: Taken) -> None:
        error = receipt(taken_in("status-failed-new-code")).error
        assert error is not None
        assert error.message == "Something new"

    def test_a_failure_without_a_code_has_no_error(self, taken_in: Taken) -> None:
        fact = receipt(taken_in("status-failed-without-code"))
        assert (fact.status, fact.error) == ("failed", None)

    def test_an_unknown_status_is_put_aside(self, taken_in: Taken, sample: Sample) -> None:
        (fact,) = taken_in("status-unknown").facts
        assert isinstance(fact, Unreadable)
        assert fact.raw == sample("status-unknown.form")
        assert fact.why == "Twilio's status partially_delivered is not known"


def message(number: Number, *parts: AnyPart, recipient: str = CUSTOMER) -> Outbound[Number]:
    return Outbound(message_id="m", account=number, recipient=recipient, parts=parts)


def fields(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode(), keep_blank_values=True)


@pytest.fixture
def created(sample: Sample) -> Response:
    return Response(status=201, body=sample("created.json"))


class TestSend:
    def test_a_text(self, gateway: TwilioSms, number: Number, created: Response) -> None:
        sent, (request,) = play(gateway.send(message(number, Text(text="Grüße & 1+1"))), created)
        assert sent == Sent(external_id="SM00000000000000000000000000000501", segments=1)
        assert request.method == "POST"
        assert request.url == f"https://api.twilio.com/2010-04-01/Accounts/AC{'a' * 32}/Messages.json"
        assert not request.repeatable
        assert fields(request) == [
            ("To", "+447700900456"),
            ("From", "+447700900123"),
            ("Body", "Grüße & 1+1"),
            ("StatusCallback", f"{HOOK}/status#rc=5&rp=all"),
        ]

    def test_without_a_hook_no_callback_is_asked_for(
        self, connection: Connection, number: Number, created: Response
    ) -> None:
        _, (request,) = play(TwilioSms(connection).send(message(number, Text(text="Hi"))), created)
        assert [name for name, _ in fields(request)] == ["To", "From", "Body"]

    def test_a_messaging_service_is_named_beside_the_number(
        self, gateway: TwilioSms, number: Number, sample: Sample
    ) -> None:
        number = msgspec.structs.replace(number, messaging_service=SERVICE)
        answer = Response(status=201, body=sample("created-in-service.json"))
        sent, (request,) = play(gateway.send(message(number, Text(text="Hi"))), answer)
        assert dict(fields(request))["MessagingServiceSid"] == SERVICE
        assert dict(fields(request))["From"] == "+447700900123"
        assert sent.segments is None

    def test_media_beside_text(self, gateway: TwilioSms, number: Number, created: Response) -> None:
        parts = (
            Text(text="Look:"),
            Media(kind="image", url=MEDIA_URL, caption="in the text already"),
            Media(kind="image", url=MEDIA_URL + "2", alt="another cat"),
            Choices(prompt="Nice?", options=(Option(id="y", title="Yes"),)),
        )
        _, (request,) = play(gateway.send(message(number, *parts)), created)
        assert [value for name, value in fields(request) if name == "MediaUrl"] == [MEDIA_URL, MEDIA_URL + "2"]
        assert dict(fields(request))["Body"] == "Look:\nNice?\n1. Yes"

    def test_media_alone_has_no_body(self, gateway: TwilioSms, number: Number, created: Response) -> None:
        _, (request,) = play(gateway.send(message(number, Media(kind="image", url=MEDIA_URL))), created)
        assert "Body" not in dict(fields(request))

    def test_the_price_where_twilio_tells_it(self, gateway: TwilioSms, number: Number, sample: Sample) -> None:
        answer = Response(status=201, body=sample("created-priced.json"))
        sent, _ = play(gateway.send(message(number, Text(text="Hi"))), answer)
        assert sent.price == Price(amount="-0.04000", currency="USD")
        assert sent.segments == 2

    @pytest.mark.parametrize(
        ("recipient", "to"),
        [("x-twilio:60300", "60300"), ("x-twilio:ACME%20Post", "ACME Post"), (CUSTOMER, CUSTOMER[4:])],
    )
    def test_whoever_wrote_can_be_answered(
        self, gateway: TwilioSms, number: Number, created: Response, recipient: str, to: str
    ) -> None:
        _, (request,) = play(gateway.send(message(number, Text(text="Hi"), recipient=recipient)), created)
        assert dict(fields(request))["To"] == to

    @pytest.mark.parametrize("recipient", ["mailto:a@b.example", "whatsapp:447700900456", "+447700900456"])
    def test_who_has_no_number_is_rejected(self, gateway: TwilioSms, number: Number, recipient: str) -> None:
        with pytest.raises(Rejected, match="no telephone number"):
            play(gateway.send(message(number, Text(text="Hi"), recipient=recipient)))

    @pytest.mark.parametrize("parts", [(), (Text(text=""),), (Text(text=" \n"),)])
    def test_nothing_to_say_is_rejected(self, gateway: TwilioSms, number: Number, parts: tuple[AnyPart, ...]) -> None:
        with pytest.raises(Rejected, match="neither text nor media"):
            play(gateway.send(message(number, *parts)))

    @pytest.mark.parametrize("url", [None, "http://media.example/cat.jpg", "file:///etc/passwd"])
    def test_media_that_twilio_can_not_fetch_is_rejected(
        self, gateway: TwilioSms, number: Number, url: str | None
    ) -> None:
        with pytest.raises(Rejected, match="no https address"):
            play(gateway.send(message(number, Text(text="Look"), Media(kind="image", url=url))))

    def test_an_api_key_takes_the_place_of_the_token(self, number: Number, created: Response) -> None:
        keyed = Connection(
            sid="AC" + "a" * 32,
            token=Secret(TOKEN),
            api_key_sid="SK" + "c" * 32,
            api_key_secret=Secret("hush"),
            api_url="https://api.dublin.ie1.twilio.com/",
        )
        _, (request,) = play(TwilioSms(keyed).send(message(number, Text(text="Hi"))), created)
        expected = Request.get("https://x.example", basic=("SK" + "c" * 32, "hush")).headers["authorization"]
        assert request.headers["authorization"] == expected
        assert request.url.startswith("https://api.dublin.ie1.twilio.com/2010-04-01/Accounts/AC")


class TestMedia:
    def located(self, gateway: TwilioSms, number: Number, url: str) -> Request:
        wanted = Wanted(account=number, reference=url, kind="image", mime="image/jpeg")
        return play(gateway.locate(wanted))[0]

    def test_a_file_is_fetched_with_the_login(self, gateway: TwilioSms, number: Number, taken_in: Taken) -> None:
        url = received(taken_in("mms")).media["1"]
        login = ("AC" + "a" * 32, TOKEN)
        assert self.located(gateway, number, url) == Request.get(url, basic=login)

    @pytest.mark.parametrize(
        "url",
        [
            "https://mms.twiliocdn.com/1",
            "http://api.twilio.com/1",
            "https://api.twilio.com:8443/1",
            "https://api.twilio.com@media.example/1",
            "https://api.twilio.com.media.example/1",
            "https://[api.twilio.com/1",
            "api.twilio.com/1",
        ],
    )
    def test_nobody_else_is_given_the_login(self, gateway: TwilioSms, number: Number, url: str) -> None:
        assert self.located(gateway, number, url) == Request.get(url)

    def test_files_are_with_twilio_or_where_the_api_is(self, gateway: TwilioSms) -> None:
        hosts = ("api.twilio.com", "mms.twiliocdn.com", "media.twiliocdn.com", "s3-external-1.amazonaws.com")
        assert gateway.media_hosts() == (*hosts, "https://api.twilio.com")
        region = msgspec.structs.replace(gateway.settings, api_url="https://API.dublin.ie1.twilio.com/")
        dublin = TwilioSms(region)
        assert dublin.media_hosts() == (*hosts, "https://api.dublin.ie1.twilio.com")


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "body", "error", "provider_code"),
        [
            (400, "refused-21211.json", Rejected, "21211"),
            (400, "refused-21610.json", OptedOut, "21610"),
            (400, "refused-new-code.json", Rejected, "29999"),
            (401, "refused-20003.json", CredentialsRefused, "20003"),
            (401, "", CredentialsRefused, "401"),
            (403, "", CredentialsRefused, "403"),
            (404, "", Rejected, "404"),
        ],
    )
    def test_a_refusal_carries_twilios_code(
        self,
        gateway: TwilioSms,
        number: Number,
        sample: Sample,
        status: int,
        body: str,
        error: type[Rejected],
        provider_code: str,
    ) -> None:
        answer = Response(status=status, body=sample(body) if body else b"<html>")
        with pytest.raises(SendError) as caught:
            play(gateway.send(message(number, Text(text="Hi"))), answer)
        assert type(caught.value) is error
        assert isinstance(caught.value, Rejected)
        assert caught.value.provider_code == provider_code

    def test_a_refusal_by_a_known_code_tells_no_number(
        self, gateway: TwilioSms, number: Number, sample: Sample
    ) -> None:
        with pytest.raises(Rejected, match=r"^the recipient is not a valid number$"):
            play(
                gateway.send(message(number, Text(text="Hi"))), Response(status=400, body=sample("refused-21211.json"))
            )

    @pytest.mark.parametrize(
        ("status", "body", "headers", "seconds"),
        [
            (429, "throttled-20429.json", {}, None),
            (429, "throttled-20429.json", {"retry-after": "7"}, 7.0),
            (429, "throttled-20429.json", {"retry-after": "Fri, 13 Nov 2026 10:00:00 GMT"}, None),
            (400, "refused-21611.json", {}, None),
        ],
    )
    def test_what_twilio_did_not_take_may_be_tried_again(
        self,
        gateway: TwilioSms,
        number: Number,
        sample: Sample,
        status: int,
        body: str,
        headers: dict[str, str],
        seconds: float | None,
    ) -> None:
        answer = Response(status=status, headers=headers, body=sample(body))
        with pytest.raises(Throttled) as caught:
            play(gateway.send(message(number, Text(text="Hi"))), answer)
        assert caught.value.retry_after_s == seconds

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (500, "failed-20500.json"),
            (503, ""),
            (504, ""),
            (302, ""),
            (200, ""),
            (201, "failed-20500.json"),
        ],
    )
    def test_an_answer_that_proves_nothing_is_ambiguous(
        self, gateway: TwilioSms, number: Number, sample: Sample, status: int, body: str
    ) -> None:
        with pytest.raises(Ambiguous):
            play(
                gateway.send(message(number, Text(text="Hi"))),
                Response(status=status, body=sample(body) if body else b""),
            )

    @pytest.mark.parametrize("error", [Throttled("429"), Unreachable("refused"), Ambiguous("no answer")])
    def test_what_core_throws_passes_through(self, gateway: TwilioSms, number: Number, error: SendError) -> None:
        with pytest.raises(SendError) as caught:
            play(gateway.send(message(number, Text(text="Hi"))), error)
        assert caught.value is error

    @settings(deadline=None)
    @given(
        status=st.integers(100, 599), body=st.binary(max_size=40) | st.sampled_from([b"{}", b'{"code":null}', b"[]"])
    )
    def test_no_answer_raises_anything_but_a_send_error(
        self, gateway: TwilioSms, number: Number, status: int, body: bytes
    ) -> None:
        with pytest.raises(SendError):
            play(gateway.send(message(number, Text(text="Hi"))), Response(status=status, body=body))


class Recorder:
    """Stands in for the official client's HTTP client, and keeps what it was to send."""

    def __init__(self) -> None:
        self.data: dict[str, object] = {}

    def request(self, method: str, url: str, **rest: object) -> object:
        data = rest["data"]
        assert isinstance(data, dict)
        self.data = data
        raise ConnectionAbortedError


class TestAgainstTheOfficialClient:
    @pytest.mark.parametrize("in_service", [False, True])
    def test_the_same_message_is_the_same_fields(
        self, gateway: TwilioSms, number: Number, created: Response, in_service: bool
    ) -> None:
        recorder = Recorder()
        client = Client("AC" + "a" * 32, TOKEN, http_client=recorder)
        service = {"messaging_service_sid": SERVICE} if in_service else {}
        with pytest.raises(ConnectionAbortedError):
            client.messages.create(
                to="+447700900456",
                from_="+447700900123",
                body="Look",
                media_url=[MEDIA_URL, MEDIA_URL + "2"],
                status_callback=f"{HOOK}/status#rc=5&rp=all",
                **service,
            )
        if in_service:
            number = msgspec.structs.replace(number, messaging_service=SERVICE)
        media = [Media(kind="image", url=url) for url in (MEDIA_URL, MEDIA_URL + "2")]
        _, (request,) = play(gateway.send(message(number, Text(text="Look"), *media)), created)
        assert sorted(fields(request)) == sorted(parse_qsl(urlencode(recorder.data, doseq=True)))

    def test_every_field_is_a_parameter_of_create(self, gateway: TwilioSms, number: Number, created: Response) -> None:
        number = msgspec.structs.replace(number, messaging_service=SERVICE)
        parts = (Text(text="Look"), Media(kind="image", url=MEDIA_URL))
        _, (request,) = play(gateway.send(message(number, *parts)), created)
        parameters = inspect.signature(MessageList.create).parameters
        for name, _ in fields(request):
            snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
            annotation = str(parameters["from_" if snake == "from" else snake].annotation)
            assert ("List[str]" in annotation) == (name == "MediaUrl")
            assert "str" in annotation


class TestConnection:
    GOOD = {"sid": "AC" + "a" * 32, "token": "t"}

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"sid": "SK" + "a" * 32}, "sid"),
            ({"token": ""}, "token is empty"),
            ({"api_key_sid": "SK" + "a" * 32}, "go together"),
            ({"api_key_secret": "s"}, "go together"),
            ({"api_key_sid": "mine", "api_key_secret": "s"}, "api_key_sid"),
            ({"auth_token": "t"}, "auth_token"),
        ],
    )
    def test_a_wrong_login_is_refused(self, change: dict[str, str], why: str) -> None:
        with pytest.raises(msgspec.ValidationError, match=why):
            msgspec.convert(self.GOOD | change, Connection, dec_hook=lambda _, value: Secret(value))

    def test_a_wrong_messaging_service_is_refused(self) -> None:
        table = {"connection": "c", "tenant": "t", "address": CUSTOMER, "messaging_service": "mine"}
        with pytest.raises(msgspec.ValidationError, match="messaging_service"):
            msgspec.convert(table, Number)

    def test_no_secret_is_shown(self, connection: Connection) -> None:
        assert TOKEN not in repr(connection)


class TestErrors:
    def test_no_code_has_two_meanings(self) -> None:
        tables = (
            errors._RETRY,
            errors._OPTED_OUT,
            errors._WINDOW_CLOSED,
            errors._CREDENTIALS,
            errors._REJECTED,
            errors._FAILED,
        )
        assert sum(map(len, tables)) == len(errors.ERRORS)

    def test_every_code_is_a_number_with_a_short_text(self) -> None:
        for code, fault in errors.ERRORS.items():
            assert code.isdecimal()
            assert 5 < len(fault.text) <= 90

    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            ("20429", Outcome.RETRY),
            ("21610", Outcome.OPTED_OUT),
            ("63016", Outcome.WINDOW_CLOSED),
            ("20003", Outcome.CREDENTIALS),
            ("21608", Outcome.REJECTED),
            ("21408", Outcome.REJECTED),
            ("30410", Outcome.FAILED),
            ("20500", Outcome.FAILED),
        ],
    )
    def test_the_codes_that_matter_most(self, code: str, outcome: Outcome) -> None:
        assert errors.ERRORS[code].outcome is outcome


FORMS = sorted(path.name for path in SAMPLES.glob("*.form"))


@settings(deadline=None)
@given(
    name=st.sampled_from(FORMS),
    at=st.floats(0, 1),
    length=st.integers(0, 40),
    instead=st.binary(max_size=20)
    | st.sampled_from([b"", b"%", b"%ff", b"%ed%a0%80", b"&", b"=", b"NumMedia=3&", b"+"]),
)
def test_no_mutation_of_a_sample_raises_anything_else(
    gateway: TwilioSms, sample: Sample, signed: Signed, name: str, at: float, length: int, instead: bytes
) -> None:
    body = sample(name)
    start = int(at * len(body))
    try:
        intake = deliver(gateway, signed(body[:start] + instead + body[start + length :]))
    except (Malformed, Unverified):
        return
    for fact in intake.facts:
        assert fact.at
        assert fact.key
        if isinstance(fact, Received):
            assert addresses.normalise(fact.sender) == fact.sender
            assert {part.id for part in fact.parts if isinstance(part, Media)} == fact.media.keys()


def test_the_samples_are_what_they_say() -> None:
    assert all(parse_qsl(path.read_text(), strict_parsing=False) for path in SAMPLES.glob("*.form"))
    assert all(json.loads(path.read_text()) for path in SAMPLES.glob("*.json"))
