"""The simulated Twilio Voice between our gateway, the official client, and a core that knows little: whole calls."""

import datetime
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

import pytest
from msgspec.structs import replace
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]  # it has no py.typed
from twilio.http.response import Response as SdkResponse  # type: ignore[import-untyped]  # as above
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # as above
from twilio.rest import Client as Sdk  # type: ignore[import-untyped]  # as above

from sluiceway import (
    Ambiguous,
    Answer,
    CallStep,
    CallView,
    Dial,
    Later,
    QueueView,
    Rejected,
    Request,
    Response,
    SendError,
    Throttled,
    Wanted,
)
from sluiceway.http.client import Client
from sluiceway.http.server import Server
from sluiceway.testing import play
from sluiceway.testing.provider import Provider
from sluiceway_gateways.voice import _twiml_player
from sluiceway_gateways.voice._number import Number
from sluiceway_gateways.voice._simulated_calls import KEPT, Calls, Leg
from sluiceway_gateways.voice.twilio import TwilioVoice
from sluiceway_gateways.voice.twilio_simulator import ANONYMOUS, MANNERS, TwilioVoiceSimulator

from .twilio_voice import (
    AGENT,
    BUSY,
    CALL_ID,
    CLOSED,
    CUSTOMER,
    GATEWAY,
    HOOK,
    LOGIN,
    NUMBER,
    OURS,
    TOKEN,
    VIEW,
    Core,
    play_out,
)

NO_LINE, NO_ANSWER, NOBODY = "+15005550486", "+15005550408", "+15005550404"
DECLINES, MAILBOX, LEAVES = "+15005550603", "+15005550480", "+15005550487"
ACCOUNT = f"/2010-04-01/Accounts/AC{'a' * 32}"


@pytest.fixture
def simulator() -> TwilioVoiceSimulator:
    return TwilioVoiceSimulator(LOGIN, HOOK)


def order(view: CallView, leg: str = "agent") -> Dial[Number]:
    party = view.agent if leg == "agent" else view.customer
    assert party is not None
    return Dial(
        account=NUMBER,
        call_id=view.call_id,
        attempt=view.attempt,
        leg="agent" if leg == "agent" else "customer",
        address=party,
        ring_ms=25_000,
        since=datetime.datetime.now(datetime.UTC),
    )


def place(simulator: TwilioVoiceSimulator, dial: Dial[Number]) -> tuple[str, Answer]:
    """One call through gateway and simulator."""
    flow = GATEWAY.dial(dial)
    answer = simulator.answer(next(flow))
    with pytest.raises(StopIteration) as stop:
        flow.send(answer.response)
    return stop.value.value, answer


def talk(simulator: TwilioVoiceSimulator, leg: str = "agent", **more: object) -> Core:
    """A call that we place, played to its end."""
    core = Core()
    core.views[CALL_ID] = replace(VIEW, **more)
    _, answer = place(simulator, order(core.views[CALL_ID], leg))
    play_out(answer.later, core.answer)
    return core


def ring(simulator: TwilioVoiceSimulator, queue: QueueView = BUSY, **fields: str) -> Core:
    """A call that somebody makes to us, played to its end."""
    core = Core(queue=queue)
    simulator.fields = fields
    play_out(simulator.deliveries(NUMBER, CUSTOMER, ""), core.answer)
    return core


class TestCallsThatWePlace:
    def test_an_agent_accepts_and_the_customer_is_called(self, simulator: TwilioVoiceSimulator) -> None:
        core = talk(simulator)
        assert core.told == [
            "agent placed",
            "agent ringing",
            "agent answered",
            "agent accepted",
            "customer ringing",
            "customer connected",
            "customer completed",
            "agent completed",
        ]
        durations = [f.duration_ms for f in core.facts if isinstance(f, CallStep) and f.step == "completed"]
        assert all(duration is not None and duration >= 20_000 for duration in durations)
        assert core.heard[-1] == "Here is the call that you asked for."

    def test_a_recorded_call_is_announced_and_its_recording_can_be_fetched(
        self, simulator: TwilioVoiceSimulator
    ) -> None:
        core = talk(simulator, record=True)
        assert core.heard[-1].endswith("This call is recorded. Hang up if you do not want that.")
        fact = core.facts[-1]
        assert isinstance(fact, CallStep)
        assert (fact.step, fact.duration_ms is not None) == ("recording", True)
        wanted = Wanted(account=NUMBER, reference=fact.recording or "", kind="audio", mime="audio/mpeg")
        request, _ = play(GATEWAY.locate(wanted))
        file = simulator.answer(request).response
        assert (file.status, file.headers["content-type"]) == (200, "audio/mpeg")
        assert file.body.startswith(b"ID3")

    @pytest.mark.parametrize("agent", [DECLINES, MAILBOX])
    def test_an_agent_declines_and_a_mailbox_does_not_accept(self, simulator: TwilioVoiceSimulator, agent: str) -> None:
        core = talk(simulator, agent=f"tel:{agent}")
        assert core.told[2:] == ["agent answered", "agent declined", "agent completed"]

    @pytest.mark.parametrize(("agent", "end"), [(NO_LINE, "busy"), (NO_ANSWER, "no_answer"), (NOBODY, "failed")])
    def test_an_agent_does_not_answer(self, simulator: TwilioVoiceSimulator, agent: str, end: str) -> None:
        assert talk(simulator, agent=f"tel:{agent}").told == ["agent placed", "agent ringing", f"agent {end}"]

    def test_an_agent_answers_and_hangs_up(self, simulator: TwilioVoiceSimulator) -> None:
        assert talk(simulator, agent=f"tel:{LEAVES}").told[2:] == ["agent answered", "agent completed"]

    @pytest.mark.parametrize(("customer", "end"), [(NO_LINE, "busy"), (NO_ANSWER, "no_answer"), (NOBODY, "failed")])
    def test_the_customer_does_not_answer(self, simulator: TwilioVoiceSimulator, customer: str, end: str) -> None:
        core = talk(simulator, customer=f"tel:{customer}")
        assert core.told[3:] == ["agent accepted", "customer ringing", f"customer {end}", "agent completed"]
        assert core.heard[-1].startswith("The customer was not reached.")

    def test_a_customer_who_hangs_up_before_being_joined_declined(self, simulator: TwilioVoiceSimulator) -> None:
        assert "customer declined" in talk(simulator, customer=f"tel:{LEAVES}", record=True).told

    def test_a_customer_is_called_first(self, simulator: TwilioVoiceSimulator) -> None:
        core = talk(simulator, "customer", first="customer")
        assert core.told == [
            "customer placed",
            "customer ringing",
            "customer answered",
            "agent ringing",
            "agent answered",
            "agent accepted",
            "agent connected",
            "agent completed",
            "customer completed",
        ]

    def test_then_an_agent_declines(self, simulator: TwilioVoiceSimulator) -> None:
        core = talk(simulator, "customer", first="customer", agent=f"tel:{DECLINES}")
        assert core.told[4:] == ["agent answered", "agent declined", "agent completed", "customer completed"]
        assert core.heard[-1].startswith("Nobody could take the call just now.")

    def test_a_call_that_was_taken_back_is_over(self, simulator: TwilioVoiceSimulator) -> None:
        core = talk(simulator, state="waiting")
        assert core.told[2:] == ["agent answered", "agent completed"]

    def test_every_delivery_is_signed_as_the_official_validator_wants(self, simulator: TwilioVoiceSimulator) -> None:
        core = Core()
        core.views[CALL_ID] = replace(VIEW, record=True)
        _, answer = place(simulator, order(VIEW))
        made = play_out(answer.later, core.answer)
        for later in made:
            request = later.request
            assert "#" not in request.url
            signature = request.headers["x-twilio-signature"]
            assert RequestValidator(TOKEN).validate(request.url, dict(request.form.pairs), signature)
        progress = [later.request.form for later in made if "SequenceNumber" in later.request.form]
        ours = [form["SequenceNumber"] for form in progress if "ParentCallSid" not in form]
        assert ours == ["0", "1", "2", "3"]

    def test_it_takes_a_few_seconds(self, simulator: TwilioVoiceSimulator) -> None:
        core = Core()
        core.views[CALL_ID] = VIEW
        _, answer = place(simulator, order(VIEW))
        assert 2 < sum(later.after_s for later in play_out(answer.later, core.answer)) < 6


class TestSomebodyCallsUs:
    def test_an_agent_who_is_free_takes_the_call(self, simulator: TwilioVoiceSimulator) -> None:
        core = ring(
            simulator,
            QueueView(prefixes=("+44",), is_open=True, free=(f"tel:{DECLINES}", f"tel:{AGENT}", f"tel:{OURS[:-1]}9")),
        )
        assert core.told == [
            "customer arrived",
            "agent accepted",
            "agent connected",
            "agent completed",
            "customer hung_up",
        ]

    def test_where_no_agent_takes_it_the_menu_comes(self, simulator: TwilioVoiceSimulator) -> None:
        core = ring(simulator, QueueView(prefixes=("+44",), is_open=True, free=(f"tel:{NO_ANSWER}",)), script="1")
        assert core.told == ["customer arrived", "customer wants_call_back", "customer hung_up"]

    @pytest.mark.parametrize(
        ("script", "told"),
        [
            ("1", ["customer wants_call_back"]),
            ("", ["customer wants_call_back"]),
            ("7, 1", ["customer wants_call_back"]),
            ("hangup", []),
            ("2", ["customer left_message", "Received"]),
            ("2,hangup", ["customer left_message", "Received"]),
            ("2,silent", []),
            ("0", ["customer wants_person", "agent accepted", "agent connected", "agent completed"]),
        ],
    )
    def test_they_press_what_the_script_says(
        self, simulator: TwilioVoiceSimulator, script: str, told: list[str]
    ) -> None:
        core = ring(simulator, script=script)
        assert core.told == ["customer arrived", *told, "customer hung_up"]

    def test_who_they_are_is_as_the_fields_say(self, simulator: TwilioVoiceSimulator) -> None:
        arrived = ring(simulator, script="hangup", verified="1", name="Ada").facts[0]
        assert isinstance(arrived, CallStep)
        assert (arrived.assurance, arrived.name, arrived.address) == ("channel", "Ada", f"tel:{CUSTOMER}")

    def test_somebody_who_is_not_shown_leaves_a_message(self, simulator: TwilioVoiceSimulator) -> None:
        core = ring(simulator, CLOSED, script="2", anonymous="1")
        (first, *_) = core.messages
        assert first.sender.startswith("x-twilio:CA")
        assert len({message.sender for message in core.messages}) == 1

    def test_one_delivery_is_the_first_of_the_call(self, simulator: TwilioVoiceSimulator) -> None:
        request = simulator.deliver(NUMBER, CUSTOMER, "")
        assert (request.url, request.form["CallStatus"]) == (HOOK, "ringing")
        assert (request.form["From"], request.form["To"], request.form["FromCountry"]) == (CUSTOMER, OURS, "GB")

    def test_while_core_can_not_be_asked_nobody_is_cut_off(self, simulator: TwilioVoiceSimulator) -> None:
        core = Core()
        core.is_down = True
        simulator.fields = {"script": "#"}
        play_out(simulator.deliveries(NUMBER, CUSTOMER, ""), core.answer)
        assert core.told == ["customer arrived", "customer left_message", "Received", "customer hung_up"]
        assert core.heard.count("One moment, please.") == 3


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("number", "error", "code"),
        [
            ("+15005550001", Rejected, "21217"),
            ("+15005550002", Rejected, "21214"),
            ("+15005550003", Rejected, "21215"),
            ("+15005550004", Rejected, "21216"),
            ("+15005550429", Throttled, None),
            ("+15005550500", Ambiguous, None),
            ("+15005550502", Ambiguous, None),
        ],
    )
    def test_the_magic_numbers_of_trouble(
        self, simulator: TwilioVoiceSimulator, number: str, error: type[SendError], code: str | None
    ) -> None:
        flow = GATEWAY.dial(order(replace(VIEW, agent=f"tel:{number}")))
        answer = simulator.answer(next(flow))
        with pytest.raises(error) as caught:
            flow.send(answer.response)
        assert getattr(caught.value, "provider_code", None) == code

    @pytest.mark.parametrize(("number", "was_placed"), [("+15005550500", False), ("+15005550502", True)])
    def test_a_call_whose_answer_was_lost_may_be_found(
        self, simulator: TwilioVoiceSimulator, number: str, was_placed: bool
    ) -> None:
        view = replace(VIEW, agent=f"tel:{number}")
        placed = simulator.answer(next(GATEWAY.dial(order(view))))
        flow = GATEWAY.find(order(view))
        with pytest.raises(StopIteration) as stop:
            flow.send(simulator.answer(next(flow)).response)
        assert (stop.value.value is not None) == was_placed == bool(placed.later)

    def test_who_is_hung_up_on_while_it_rings_is_not_answered(self, simulator: TwilioVoiceSimulator) -> None:
        sid, answer = place(simulator, order(VIEW))
        core = Core()
        core.views[CALL_ID] = VIEW

        def answered(request: Request) -> Response:
            response = core.answer(request)
            if request.form["CallStatus"] == "ringing":
                hang_up(simulator, sid)
            return response

        play_out(answer.later, answered)
        assert core.told == ["agent placed", "agent ringing", "agent canceled"]
        hang_up(simulator, sid)  # it has ended: nothing happens

    def test_who_is_hung_up_on_while_the_other_rings_leaves_both(self, simulator: TwilioVoiceSimulator) -> None:
        sid, answer = place(simulator, order(VIEW))
        core = Core()
        core.views[CALL_ID] = VIEW

        def answered(request: Request) -> Response:
            response = core.answer(request)
            if request.url.startswith(f"{HOOK}/whisper"):
                hang_up(simulator, sid)
            return response

        play_out(answer.later, answered)
        assert core.told[-3:] == ["customer connected", "customer completed", "agent completed"]

    def test_who_is_hung_up_on_hears_no_more(self, simulator: TwilioVoiceSimulator) -> None:
        sid, answer = place(simulator, order(VIEW))
        core = Core()
        core.views[CALL_ID] = VIEW

        def answered(request: Request) -> Response:
            response = core.answer(request)
            if request.url.startswith(f"{HOOK}/agent"):
                hang_up(simulator, sid)
            return response

        play_out(answer.later, answered)
        assert core.told[2:] == ["agent answered", "agent completed"]

    @pytest.mark.parametrize(
        "response",
        [
            Response(status=503),
            Response(body=b"<"),
            Response(body=b"<Answer/>"),
            Response(body=b"<Response><Pay/></Response>"),
        ],
    )
    def test_a_hook_without_instructions_ends_the_call(
        self, simulator: TwilioVoiceSimulator, response: Response
    ) -> None:
        _, answer = place(simulator, order(VIEW))
        made = play_out(answer.later, lambda request: response)
        assert made[-1].request.form["CallStatus"] == "completed"

    def test_a_call_that_goes_round_for_ever_ends(
        self, simulator: TwilioVoiceSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_twiml_player, "MAX_DOCUMENTS", 3)
        _, answer = place(simulator, order(VIEW))
        again = Response(body=b"<Response><Play>/x.mp3</Play><Redirect>/hooks/calls/agent</Redirect></Response>")
        made = play_out(answer.later, lambda request: again)
        assert [later.request.url for later in made].count("https://gw.example/hooks/calls/agent") == 2

    def test_a_document_that_is_over_ends_the_call_unless_it_dials_on(self, simulator: TwilioVoiceSimulator) -> None:
        document = f"<Response><Dial><Number>{NO_LINE}</Number></Dial><Dial/></Response>".encode()
        _, answer = place(simulator, order(VIEW))
        made = play_out(answer.later, lambda request: Response(body=document))
        assert [later.request.form["CallStatus"] for later in made][-2:] == ["in-progress", "completed"]

    def test_a_telephone_without_instructions_of_its_own_is_joined_at_once(
        self, simulator: TwilioVoiceSimulator
    ) -> None:
        dial = f'<Dial action="/after" record="record-from-answer"><Number>{CUSTOMER}</Number></Dial>'
        _, answer = place(simulator, order(VIEW))

        def answered(request: Request) -> Response:
            verbs = dial if request.url.startswith(f"{HOOK}/agent") else ""
            return Response(body=f"<Response>{verbs}</Response>".encode())

        made = play_out(answer.later, answered)
        (after,) = [later.request.form for later in made if later.request.url == "https://gw.example/after"]
        assert (after["DialCallStatus"], after["DialBridged"], after["DialCallDuration"]) == ("completed", "true", "20")
        assert "/Recordings/RE" in after["RecordingUrl"]


def hang_up(simulator: TwilioVoiceSimulator, sid: str) -> None:
    flow = GATEWAY.hang_up(NUMBER, sid)
    with pytest.raises(StopIteration):
        flow.send(simulator.answer(next(flow)).response)


class Wire:
    """The official client's HTTP client: the request goes to the simulator instead of a socket."""

    def __init__(self, simulator: TwilioVoiceSimulator) -> None:
        self.simulator = simulator
        self.later: tuple[Later, ...] = ()

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
        query, form = (
            urlencode({name: value for name, value in (fields or {}).items() if value is not None}, doseq=True)
            for fields in (params, data)
        )
        pairs = parse_qsl(form, keep_blank_values=True)
        request = Request.post_form(f"{url}?{query}" if query else url, pairs, basic=auth)
        answer = self.simulator.answer(replace(request, method=method))
        self.later = answer.later
        return SdkResponse(answer.response.status, answer.response.body.decode(), answer.response.headers)


class TestWithTheOfficialClient:
    @pytest.fixture
    def wire(self, simulator: TwilioVoiceSimulator) -> Wire:
        return Wire(simulator)

    @pytest.fixture
    def sdk(self, wire: Wire) -> Sdk:
        return Sdk("AC" + "a" * 32, TOKEN, http_client=wire)

    def test_a_call_is_queued_and_the_client_reads_every_field(self, sdk: Sdk) -> None:
        call = sdk.calls.create(to=AGENT, from_=OURS, url=f"{HOOK}/agent")
        assert (call.to, call._from, call.status, call.direction) == (AGENT, OURS, "queued", "outbound-api")
        assert isinstance(call.date_created, datetime.datetime)
        assert call.uri == f"{ACCOUNT}/Calls/{call.sid}.json"
        assert (call.duration, call.end_time, call.parent_call_sid) == (None, None, None)
        assert sdk.calls(call.sid).fetch().sid == call.sid

    def test_a_call_has_its_end(self, sdk: Sdk, wire: Wire) -> None:
        call = sdk.calls.create(to=NO_LINE, from_=OURS, url=f"{HOOK}/agent")
        play_out(wire.later, lambda request: Response())
        assert (sdk.calls(call.sid).fetch().status, sdk.calls(call.sid).fetch().duration) == ("busy", "0")

    def test_without_a_callback_only_instructions_are_asked_for(self, sdk: Sdk, wire: Wire) -> None:
        sdk.calls.create(to=AGENT, from_=OURS, url=f"{HOOK}/agent")
        made = play_out(wire.later, lambda request: Response(body=b"<Response/>"))
        assert [later.request.url for later in made] == [f"{HOOK}/agent"]

    def test_only_the_end_is_told_where_nothing_else_is_asked_for(self, sdk: Sdk, wire: Wire) -> None:
        sdk.calls.create(to=AGENT, from_=OURS, url=f"{HOOK}/agent", status_callback=f"{HOOK}/status")
        made = play_out(wire.later, lambda request: Response(body=b"<Response/>"))
        assert [later.request.form["CallStatus"] for later in made] == ["in-progress", "completed"]

    def test_calls_are_listed_by_number_and_day(self, sdk: Sdk) -> None:
        for to in (AGENT, CUSTOMER):
            sdk.calls.create(to=to, from_=OURS, url=f"{HOOK}/agent")
        today = datetime.datetime.now(datetime.UTC).date()
        assert [call.to for call in sdk.calls.list(to=AGENT, from_=OURS, start_time_after=today)] == [AGENT]
        assert sdk.calls.list(to=AGENT, start_time_after=today + datetime.timedelta(days=1)) == []
        assert len(sdk.calls.list(from_=OURS)) == 2
        assert sdk.calls.list(from_=CUSTOMER) == []

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"to": ""}, 21201),
            ({"from_": ""}, 21213),
            ({"url": "agent"}, 21205),
            ({"timeout": -1}, 21208),
            ({"to": "07700 900456"}, 21211),
            ({"from_": "+15005550001"}, 21212),
        ],
    )
    def test_a_wrong_order_is_refused_by_code(self, sdk: Sdk, change: dict[str, object], code: int) -> None:
        with pytest.raises(TwilioRestException) as caught:
            sdk.calls.create(**({"to": AGENT, "from_": OURS, "url": f"{HOOK}/agent"} | change))
        assert (caught.value.status, caught.value.code) == (400, code)

    def test_a_call_that_nobody_placed_is_not_there(self, sdk: Sdk) -> None:
        with pytest.raises(TwilioRestException) as caught:
            sdk.calls("CA" + "0" * 32).fetch()
        assert (caught.value.status, caught.value.code) == (404, 20404)

    def test_there_is_no_other_resource(self, sdk: Sdk) -> None:
        with pytest.raises(TwilioRestException) as caught:
            sdk.messages.create(to=AGENT, from_=OURS, body="Hello")
        assert caught.value.code == 20404

    def test_a_wrong_password_is_refused(self, wire: Wire) -> None:
        with pytest.raises(TwilioRestException) as caught:
            Sdk("AC" + "a" * 32, "wrong", http_client=wire).calls("CA" + "0" * 32).fetch()
        assert (caught.value.status, caught.value.code) == (401, 20003)

    def test_a_body_that_is_no_form_calls_nobody(self, simulator: TwilioVoiceSimulator) -> None:
        url = f"https://api.twilio.com{ACCOUNT}/Calls.json"
        headers = Request.get(url, basic=LOGIN.basic).headers
        answer = simulator.answer(Request(method="POST", url=url, headers=headers, body=b"{}"))
        assert answer.response.json(dict[str, object])["code"] == 21201


def test_only_the_last_calls_are_kept() -> None:
    calls = Calls()
    legs = [calls.keep(Leg(to=AGENT, sender=OURS, direction="outbound-api")) for _ in range(KEPT + 1)]
    assert calls.find(legs[0].sid) is None
    assert calls.find(legs[-1].sid) is legs[-1]


def test_the_class_documents_every_magic_number() -> None:
    documented = TwilioVoiceSimulator.__doc__ or ""
    assert [number for number in MANNERS if number not in documented] == []
    assert ANONYMOUS not in documented


class Hook:
    """The gateway behind HTTP, and the core behind it."""

    methods = frozenset({"POST"})
    max_body_bytes = 1 << 16

    def __init__(self, core: Core) -> None:
        self.core = core

    async def answer(self, request: Request) -> Response:
        return self.core.answer(request)


async def test_a_call_over_http_from_its_order_to_its_end() -> None:
    core = Core()
    hook = Hook(core)
    server = Server("127.0.0.1:0", lambda path: (hook, ""))
    await server.start()
    core.hook = f"http://{server.listen}/hooks/calls"
    client, simulator = Client(), TwilioVoiceSimulator(LOGIN, core.hook)
    simulator.scale = 0.0
    provider = Provider(simulator, "127.0.0.1:0")
    await provider.start()
    settings = replace(LOGIN, api_url=f"http://{provider.listen}")
    core.gateway = TwilioVoice(settings, core.hook, [NUMBER])
    core.views[CALL_ID] = replace(VIEW, record=True)
    try:
        sid = await client.play(core.gateway.dial(order(VIEW)))
        await provider.idle()
        assert await client.play(core.gateway.find(order(VIEW))) == sid
        await client.play(core.gateway.hang_up(NUMBER, sid))
    finally:
        await provider.stop()
        await server.stop()
        await client.close()
    assert core.told[-3:] == ["customer completed", "agent completed", "recording"]
    assert set(provider.statuses) == {200, 204}
