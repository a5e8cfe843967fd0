"""TwilioVoice towards Twilio: what it orders, what it makes of the answers, how it finds a call and ends one."""

import datetime
import inspect
import re
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twilio.rest import Client  # type: ignore[import-untyped]  # it has no py.typed
from twilio.rest.api.v2010.account.call import CallList  # type: ignore[import-untyped]  # as above

from sluiceway import (
    Ambiguous,
    CredentialsRefused,
    Dial,
    Malformed,
    Outcome,
    Rejected,
    Request,
    Response,
    SendError,
    Throttled,
    Unreachable,
    Wanted,
)
from sluiceway.testing import check_gateway, play
from sluiceway_gateways.voice import _voice_errors as errors
from sluiceway_gateways.voice._number import Number
from sluiceway_gateways.voice.twilio import TwilioVoice

from .twilio_voice import AGENT, CALL_ID, CUSTOMER, GATEWAY, HOOK, LOGIN, NUMBER, OURS, TOKEN, goes_to

SINCE = datetime.datetime(2026, 11, 27, 0, 0, 3, tzinfo=datetime.UTC)
ORDER = Dial(
    account=NUMBER,
    call_id=CALL_ID,
    attempt=2,
    leg="agent",
    address=f"tel:{AGENT}",
    ring_ms=25_000,
    since=SINCE,
)
SID = "CA00000000000000000000000000000701"
CREATED = Response.of_json({"sid": SID, "status": "queued"}, 201)
CALLS = f"https://api.twilio.com/2010-04-01/Accounts/AC{'a' * 32}/Calls"


def fields(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode(), keep_blank_values=True)


def refused(code: int, status: int = 400) -> Response:
    return Response.of_json({"code": code, "message": "No", "status": status}, status)


class TestDialling:
    def test_a_call_to_an_agent(self) -> None:
        sid, (request,) = play(GATEWAY.dial(ORDER), CREATED)
        assert sid == SID
        assert (request.method, request.url) == ("POST", f"{CALLS}.json")
        assert not request.repeatable
        ordered = fields(request)
        assert [name for name, _ in ordered] == [
            "To",
            "From",
            "Url",
            "Timeout",
            "StatusCallback",
            *4 * ["StatusCallbackEvent"],
        ]
        assert [value for name, value in ordered if name == "StatusCallbackEvent"] == [
            *("initiated", "ringing", "answered", "completed")
        ]
        known = dict(ordered)
        assert (known["To"], known["From"], known["Timeout"]) == (AGENT, OURS, "25")
        state = {"call": CALL_ID, "attempt": "2", "leg": "agent"}
        assert goes_to(known["Url"]) == ("agent", state | {"ring": "25"})
        assert goes_to(known["StatusCallback"]) == ("status", state)

    def test_a_call_to_a_customer_begins_with_the_customer(self) -> None:
        _, (request,) = play(GATEWAY.dial(replace(ORDER, leg="customer", address=f"tel:{CUSTOMER}")), CREATED)
        assert dict(fields(request))["To"] == CUSTOMER
        assert goes_to(dict(fields(request))["Url"])[0] == "customer"

    @pytest.mark.parametrize(("ring_ms", "seconds"), [(400, "1"), (12_900, "12")])
    def test_it_rings_in_whole_seconds(self, ring_ms: int, seconds: str) -> None:
        _, (request,) = play(GATEWAY.dial(replace(ORDER, ring_ms=ring_ms)), CREATED)
        assert dict(fields(request))["Timeout"] == seconds

    def test_only_a_telephone_is_called(self) -> None:
        with pytest.raises(Rejected, match="no telephone number"):
            play(GATEWAY.dial(replace(ORDER, address="mailto:ada@example.org")))

    @pytest.mark.parametrize(
        "answer",
        [
            Response(status=500),
            refused(20500, 500),
            Response(status=302),
            Response(status=201),
            Response(status=200, body=b"{}"),
        ],
    )
    def test_an_answer_that_proves_nothing_is_ambiguous(self, answer: Response) -> None:
        with pytest.raises(Ambiguous):
            play(GATEWAY.dial(ORDER), answer)

    @pytest.mark.parametrize(
        ("answer", "error", "code"),
        [
            (refused(21217), Rejected, "21217"),
            (refused(21215), Rejected, "21215"),
            (refused(29999), Rejected, "29999"),
            (refused(20003, 401), CredentialsRefused, "20003"),
            (refused(10001), CredentialsRefused, "10001"),
            (Response(status=403, body=b"<html>"), CredentialsRefused, "403"),
        ],
    )
    def test_a_refusal_carries_twilios_code(self, answer: Response, error: type[Rejected], code: str) -> None:
        with pytest.raises(SendError) as caught:
            play(GATEWAY.dial(ORDER), answer)
        assert type(caught.value) is error
        assert isinstance(caught.value, Rejected)
        assert caught.value.provider_code == code

    @pytest.mark.parametrize("answer", [refused(20429, 429), refused(10004), Response(status=429)])
    def test_what_twilio_did_not_take_may_be_tried_again(self, answer: Response) -> None:
        with pytest.raises(Throttled):
            play(GATEWAY.dial(ORDER), answer)

    @pytest.mark.parametrize("error", [Throttled("429"), Unreachable("refused"), Ambiguous("no answer")])
    def test_what_core_throws_passes_through(self, error: SendError) -> None:
        with pytest.raises(SendError) as caught:
            play(GATEWAY.dial(ORDER), error)
        assert caught.value is error

    @settings(deadline=None)
    @given(
        status=st.integers(100, 599), body=st.binary(max_size=40) | st.sampled_from([b"{}", b'{"code":null}', b"[]"])
    )
    def test_no_answer_raises_anything_but_a_send_error(self, status: int, body: bytes) -> None:
        for flow in (GATEWAY.dial(ORDER), GATEWAY.find(ORDER)):
            with pytest.raises(SendError):
                play(flow, Response(status=status, body=body))


def call(sid: str, date: str | None, **more: object) -> dict[str, object]:
    return {"sid": sid, "to": AGENT, "direction": "outbound-api", "date_created": date, "start_time": None} | more


class TestFinding:
    def find(self, *calls: dict[str, object]) -> str | None:
        found, (request,) = play(GATEWAY.find(ORDER), Response.of_json({"calls": calls, "page": 0}))
        assert request.repeatable
        return found

    def test_it_asks_for_calls_between_the_two_since_that_day(self) -> None:
        _, (request,) = play(GATEWAY.find(ORDER), Response.of_json({"calls": []}))
        assert request.method == "GET"
        assert request.url.partition("?")[0] == f"{CALLS}.json"
        assert parse_qsl(urlsplit(request.url).query) == [
            ("To", AGENT),
            ("From", OURS),
            ("StartTime>", "2026-11-26"),  # five seconds before is yesterday
            ("PageSize", "50"),
        ]

    def test_the_first_call_since_then_is_it(self) -> None:
        late, early = "Fri, 27 Nov 2026 00:09:00 +0000", "Fri, 27 Nov 2026 00:00:04 +0000"
        assert self.find(call("CA2", late), call("CA1", early)) == "CA1"

    def test_clocks_may_differ_by_seconds(self) -> None:
        assert self.find(call("CA1", "Thu, 26 Nov 2026 23:59:58 +0000")) == "CA1"
        assert self.find(call("CA1", "Thu, 26 Nov 2026 23:59:57 +0000")) is None

    def test_a_start_will_do_for_its_date(self) -> None:
        assert self.find(call("CA1", None, start_time="Fri, 27 Nov 2026 00:00:09 -0000")) == "CA1"

    @pytest.mark.parametrize(
        "more",
        [
            {"to": CUSTOMER},
            {"direction": "outbound-dial"},
            {"direction": "inbound"},
            {"date_created": "soon"},
            {"date_created": None},
        ],
    )
    def test_another_call_is_not_it(self, more: dict[str, object]) -> None:
        assert self.find(call("CA1", "Fri, 27 Nov 2026 00:00:09 +0000") | more) is None

    def test_a_list_that_can_not_be_read_settles_nothing(self) -> None:
        with pytest.raises(Ambiguous):
            play(GATEWAY.find(ORDER), Response(body=b"{}"))

    def test_a_refusal_is_told(self) -> None:
        with pytest.raises(CredentialsRefused):
            play(GATEWAY.find(ORDER), refused(20003, 401))


class TestHangingUp:
    def test_a_call_is_completed(self) -> None:
        _, (request,) = play(GATEWAY.hang_up(NUMBER, SID), Response.of_json({"sid": SID}))
        assert (request.method, request.url) == ("POST", f"{CALLS}/{SID}.json")
        assert fields(request) == [("Status", "completed")]
        assert request.repeatable

    @pytest.mark.parametrize("answer", [refused(20404, 404), refused(21220), Response(status=404)])
    def test_one_that_has_ended_is_left_alone(self, answer: Response) -> None:
        play(GATEWAY.hang_up(NUMBER, SID), answer)

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (refused(20003, 401), CredentialsRefused),
            (Response(status=500), Ambiguous),
            (refused(20429, 429), Throttled),
        ],
    )
    def test_anything_else_is_told(self, answer: Response, error: type[SendError]) -> None:
        with pytest.raises(error):
            play(GATEWAY.hang_up(NUMBER, SID), answer)

    def test_an_id_stays_in_its_place(self) -> None:
        _, (request,) = play(GATEWAY.hang_up(NUMBER, "../x?y"), Response())
        assert request.url == f"{CALLS}/..%2Fx%3Fy.json"


class TestRecordings:
    def wanted(self, reference: str) -> Wanted[Number]:
        return Wanted(account=NUMBER, reference=reference, kind="voice", mime="audio/mpeg")

    def test_a_recording_is_fetched_with_the_login(self) -> None:
        request, _ = play(GATEWAY.locate(self.wanted("https://api.twilio.com/x/RE1.mp3")))
        assert request == Request.get("https://api.twilio.com/x/RE1.mp3", basic=LOGIN.basic)

    def test_nobody_else_gets_the_login(self) -> None:
        request, _ = play(GATEWAY.locate(self.wanted("https://elsewhere.example/x/RE1.mp3")))
        assert "authorization" not in request.headers

    def test_it_is_fetched_from_the_api_alone(self) -> None:
        assert GATEWAY.media_hosts() == ("api.twilio.com", "https://api.twilio.com")
        dublin = TwilioVoice(replace(LOGIN, api_url="https://API.dublin.ie1.twilio.com/"))
        assert dublin.media_hosts() == ("api.twilio.com", "https://api.dublin.ie1.twilio.com")


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
    def test_the_same_call_is_the_same_fields(self) -> None:
        _, (request,) = play(GATEWAY.dial(ORDER), CREATED)
        known, recorder = dict(fields(request)), Recorder()
        with pytest.raises(ConnectionAbortedError):
            Client("AC" + "a" * 32, TOKEN, http_client=recorder).calls.create(
                to=AGENT,
                from_=OURS,
                url=known["Url"],
                timeout=25,
                status_callback=known["StatusCallback"],
                status_callback_event=["initiated", "ringing", "answered", "completed"],
            )
        sent = {name: value for name, value in recorder.data.items() if value is not None}
        assert sorted(fields(request)) == sorted(parse_qsl(urlencode(sent, doseq=True)))

    def test_every_field_is_a_parameter_of_create(self) -> None:
        _, (request,) = play(GATEWAY.dial(ORDER), CREATED)
        parameters = inspect.signature(CallList.create).parameters
        for name, _ in fields(request):
            snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
            annotation = str(parameters["from_" if snake == "from" else snake].annotation)
            assert ("List[str]" in annotation) == (name == "StatusCallbackEvent")


class TestNumbers:
    TABLE = {"connection": "calls", "tenant": "acme", "address": f"tel:{OURS}"}

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"address": "mailto:us@example.org"}, "mailto:us@example.org can't be called"),
            ({"address": "07700900123"}, "can't be called: write tel:"),
            ({"operator": [f"tel:{AGENT}", "x-twilio:60300"]}, "x-twilio:60300 can't be called"),
            ({"lang": "english please"}, "lang"),
            ({"lang": "fr-FR"}, "there are no phrases in fr-FR: give offer, offer_name, about"),
            ({"phrases": {"close": "Closed."}}, "there is no phrase close; did you mean closed?"),
            ({"phrases": {"xyzzy": "?"}}, "there is no phrase xyzzy; there are: offer, offer_name"),
            ({"phrases": {"closed": "Until {time}."}}, "the phrase closed can be filled in with nothing"),
            ({"phrases": {"wait": "{low!r} {high:>9}"}}, "the phrase wait can be filled in with {high} and {low}"),
            ({"phrases": {"wait": "{low.real}"}}, "can be filled in with {high} and {low}"),
            ({"phrases": {"wait": "{}"}}, "can be filled in with {high} and {low}"),
            ({"phrases": {"wait": "{low"}}, "the phrase wait has a brace too many or too few"),
            ({"skil": "orders"}, "skil"),
        ],
    )
    def test_a_wrong_account_is_refused(self, change: dict[str, object], why: str) -> None:
        with pytest.raises(msgspec.ValidationError, match=re.escape(why)):
            msgspec.convert(self.TABLE | change, Number)

    def test_another_language_needs_all_phrases(self) -> None:
        phrases = dict.fromkeys(NUMBER.words._texts, "Oui.")
        number = msgspec.convert(self.TABLE | {"lang": "fr-FR", "phrases": phrases}, Number)
        assert number.words.say("closed") == "Oui."

    def test_german_is_chosen_by_its_language_alone(self) -> None:
        number = msgspec.convert(self.TABLE | {"lang": "de-CH", "phrases": {"closed": "Zu."}}, Number)
        assert (number.words.say("closed"), number.words.say("one_moment")) == ("Zu.", "Einen Moment, bitte.")


class TestErrors:
    def test_no_code_has_two_meanings(self) -> None:
        tables = (errors._RETRY, errors._CREDENTIALS, errors._REJECTED, errors._FAILED)
        assert sum(map(len, tables)) == len(errors.ERRORS)

    def test_every_code_is_a_number_with_a_short_text(self) -> None:
        for code, fault in errors.ERRORS.items():
            assert code.isdecimal()
            assert 5 < len(fault.text) <= 90

    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            ("20429", Outcome.RETRY),
            ("20003", Outcome.CREDENTIALS),
            ("13224", Outcome.REJECTED),
            ("13227", Outcome.REJECTED),
            ("21211", Outcome.REJECTED),
            ("32203", Outcome.REJECTED),
            ("32017", Outcome.FAILED),
        ],
    )
    def test_the_codes_that_matter_most(self, code: str, outcome: Outcome) -> None:
        assert errors.ERRORS[code].outcome is outcome


def test_it_passes_the_conformance_checks() -> None:
    check_gateway(TwilioVoice, LOGIN)
    check_gateway(TwilioVoice)


def test_a_delivery_that_no_account_is_for_is_malformed_where_we_wrote_its_address() -> None:
    with pytest.raises(Malformed, match="no account any more"):
        TwilioVoice(LOGIN, HOOK).receive(
            Request(
                method="POST", url=f"{HOOK}/menu?n=0", headers={"content-type": "application/x-www-form-urlencoded"}
            )
        )
