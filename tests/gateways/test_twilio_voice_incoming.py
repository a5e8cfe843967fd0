"""The steps of a call that somebody makes to us, on recorded requests: nobody is promised what nobody knows."""

import pytest
from msgspec.structs import replace

from sluiceway import Ask, CallStep, CallView, Intake, QueueView, Received, Request, Secret, Unavailable
from sluiceway.testing import consult, deliver
from sluiceway_contracts import Media, Wait, is_uuid
from sluiceway_gateways.voice._number import Number
from sluiceway_gateways.voice._step import ANONYMOUS
from sluiceway_gateways.voice.twilio import TwilioVoice

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
    OPERATOR,
    OURS,
    document,
    first,
    goes_to,
    said,
    sample,
    signed,
    steps,
    to_us,
    verb,
    verbs,
    voice,
)

SID, CHILD = "CA00000000000000000000000000000701", "CA00000000000000000000000000000702"
RECORDING = "RE00000000000000000000000000000801"
FREE = QueueView(prefixes=("+44",), is_open=True, free=(f"tel:{AGENT}", "mailto:x@example.org", f"tel:{AGENT}"))
DOWN = Unavailable("NATS is away")
ARRIVED = CallView(call_id=CALL_ID, state="arrived", attempt=0, first="agent", customer=f"tel:{CUSTOMER}")
BARE = replace(NUMBER, operator=(), voicemail=False)


def called(form: str, queue: object, gateway: TwilioVoice = GATEWAY) -> Intake:
    return deliver(gateway, signed(HOOK, sample(form)), queue)


def taken(gateway: TwilioVoice, request: Request) -> Intake:
    """Whoever signed it."""
    intake = gateway.receive(request)
    assert isinstance(intake, Intake)
    return intake


class TestSomebodyCalls:
    def test_the_skill_of_the_number_is_asked_about(self) -> None:
        flow = GATEWAY.receive(signed(HOOK, sample("called")))
        assert not isinstance(flow, Intake)
        _, asked = consult(flow, BUSY)
        assert asked == [Ask("queue", OURS, "orders")]

    def test_who_it_is_is_a_fact(self) -> None:
        fact = first(called("called", BUSY))
        assert is_uuid(fact.call_id)
        assert fact == CallStep(
            at=OURS,
            key=f"{SID}:arrived",
            skill="orders",
            call_id=fact.call_id,
            step="arrived",
            leg="customer",
            external_id=SID,
            address=f"tel:{CUSTOMER}",
        )

    def test_every_replica_gives_the_call_the_same_id_and_no_stranger_can(self) -> None:
        ours = first(called("called", BUSY)).call_id
        assert first(called("called", BUSY, voice())).call_id == ours
        stranger = TwilioVoice(replace(LOGIN, token=Secret("54321")), HOOK)
        assert first(taken(stranger, signed(HOOK, sample("called")))).call_id != ours

    def test_a_number_that_the_carrier_vouches_for_is_proven_by_the_channel(self) -> None:
        fact = first(called("called-attested", BUSY))
        assert (fact.assurance, fact.name) == ("channel", "ADA LOVELACE")
        assert first(called("called-attested-b", BUSY)).assurance == "asserted"

    def test_that_it_is_proven_goes_on_to_the_next_steps(self) -> None:
        intake = called("called-attested", BUSY)
        assert goes_to(verb(intake, "Gather").get("action"))[1]["attested"] == "1"
        assert "attested" not in goes_to(verb(called("called", BUSY), "Gather").get("action"))[1]

    @pytest.mark.parametrize("number", [*sorted(ANONYMOUS), "anonymous", "", "sip:ada@example.org", "client:ada"])
    def test_whoever_is_not_shown_has_no_address(self, number: str) -> None:
        fact = first(deliver(GATEWAY, signed(HOOK, sample("called") | {"From": number}), BUSY))
        assert fact.address is None

    def test_whoever_is_free_is_called_at_once(self) -> None:
        intake = called("called", FREE)
        assert verbs(intake) == ["Say", "Dial"]
        assert said(intake) == "Hello, and thank you for calling. One moment, please."
        dial = verb(intake, "Dial")
        assert (dial.get("timeout"), dial.get("answerOnBridge"), dial.get("callerId")) == ("20", "true", OURS)
        assert [number.text for number in dial] == [AGENT]
        at, state = goes_to(dial.get("action"))
        assert (at, state) == ("menu", {"call": first(intake).call_id})
        assert goes_to(dial[0].get("url"))[0] == "inbound-whisper"

    def test_twilio_rings_ten_at_most(self) -> None:
        many = replace(FREE, free=tuple(f"tel:+4477009008{n}" for n in range(10, 30)))
        assert len(verb(called("called", many), "Dial")) == 10

    @pytest.mark.parametrize("queue", [BUSY, CLOSED, replace(FREE, is_open=False), replace(FREE, free=())])
    def test_where_nobody_is_the_menu_comes(self, queue: QueueView) -> None:
        assert verbs(called("called", queue)) == ["Gather", "Gather", "Redirect"]

    def test_a_number_without_an_account_is_told_by_its_name(self) -> None:
        intake = deliver(TwilioVoice(LOGIN, HOOK), signed(HOOK, sample("called")))
        assert (first(intake).at, first(intake).step) == (OURS, "arrived")
        assert (verbs(intake), said(intake)[:5]) == (["Say", "Hangup"], "Sorry")


class TestTheMenu:
    @pytest.mark.parametrize(
        ("queue", "place"),
        [
            (QueueView(prefixes=("+44",), is_open=True), "Nobody is free at the moment. Press 1"),
            (
                QueueView(prefixes=("+44",), is_open=True, waiting=1),
                "free at the moment. One caller is waiting before you. Press 1",
            ),
            (
                QueueView(prefixes=("+44",), is_open=True, waiting=4, wait_ms=Wait(low=130_000, high=250_000)),
                "4 callers are waiting before you. It takes about 2 to 5 minutes. Press 1",
            ),
            (QueueView(prefixes=("+44",), is_open=True, wait_ms=Wait(low=0, high=1)), "It takes about 1 to 2 minutes."),
            (CLOSED, "We are closed at the moment. Press 1, and we call you back when we are open."),
            (replace(CLOSED, waiting=3, wait_ms=Wait(low=1, high=2)), "We are closed at the moment. Press 1"),
        ],
    )
    def test_it_says_how_things_are(self, queue: QueueView, place: str) -> None:
        assert place in said(to_us("menu", sample("caller-after-dial"), queue))

    def test_no_time_is_promised_that_nobody_knows(self) -> None:
        assert "minutes" not in said(to_us("menu", sample("caller"), BUSY))

    def test_it_comes_twice_and_then_goes_on_without_a_key(self) -> None:
        intake = to_us("menu", sample("caller"), BUSY)
        assert verbs(intake) == ["Gather", "Gather", "Redirect"]
        keys = "Press 1, and we call you back: you keep your place. Press 2 to leave a message. Press 0 to speak with"
        assert said(intake).count(keys) == 2
        urls = {gather.get("action") for gather in document(intake).iter("Gather")} | {verb(intake, "Redirect").text}
        assert [goes_to(url) for url in urls] == [("choice", {"call": CALL_ID, "back": "1"})]

    @pytest.mark.parametrize(
        ("number", "queue", "has_person"),
        [
            (NUMBER, CLOSED, True),
            (BARE, CLOSED, False),
            (BARE, replace(CLOSED, reach=(f"tel:{AGENT}",)), True),
            (BARE, QueueView(prefixes=("+44",), is_open=True), False),
            (BARE, BUSY, True),
        ],
    )
    def test_a_person_is_on_it_where_there_is_one(self, number: Number, queue: QueueView, has_person: bool) -> None:
        assert ("Press 0" in said(to_us("menu", sample("caller"), queue, gateway=voice(number)))) is has_person

    def test_after_nobody_could_be_reached_there_are_the_other_ways(self) -> None:
        intake = to_us("menu", sample("caller-after-dial"), BUSY, flags={"person": 1})
        assert said(intake).startswith("Nobody could be reached just now. Nobody is free")
        assert "Press 0" not in said(intake)
        assert goes_to(verb(intake, "Gather").get("action"))[1]["person"] == "1"

    def test_without_voicemail_no_message_is_offered(self) -> None:
        assert "Press 2" not in said(to_us("menu", sample("caller"), BUSY, gateway=voice(BARE)))

    def test_whoever_is_not_shown_is_not_promised_a_call(self) -> None:
        text = said(to_us("menu", sample("caller-anonymous"), BUSY))
        assert "Press 1" not in text
        assert "Press 2" in text

    def test_whom_no_call_may_go_to_is_not_promised_one(self) -> None:
        abroad = QueueView(prefixes=("+49",), is_open=True, waiting=1)
        assert "Press 1" not in said(to_us("menu", sample("caller"), abroad))
        assert "Press 1" not in said(to_us("menu", sample("caller"), QueueView(is_open=False)))
        assert steps(to_us("choice", sample("caller-pressed-1"))) == []

    def test_where_there_is_nothing_to_choose_it_says_so(self) -> None:
        intake = to_us("menu", sample("caller-anonymous"), CLOSED, gateway=voice(BARE))
        assert verbs(intake) == ["Say", "Hangup"]
        assert said(intake).startswith("We are closed at the moment. We can't call your number")

    def test_after_a_talk_it_is_over_and_core_need_not_be_asked(self) -> None:
        intake = to_us("menu", sample("caller-after-talk"))
        assert verbs(intake) == ["Hangup"]
        fact = first(intake)
        assert (fact.step, fact.leg, fact.external_id, fact.duration_ms) == ("completed", "agent", CHILD, 90_000)


class TestTheChoice:
    @pytest.mark.parametrize("form", ["caller-pressed-1", "caller"])
    def test_with_1_or_nothing_they_are_called_back(self, form: str) -> None:
        intake = to_us("choice", sample(form), flags={"back": 1})
        assert (steps(intake), verbs(intake)) == (["wants_call_back"], ["Say", "Hangup"])
        assert (first(intake).address, first(intake).key) == (f"tel:{CUSTOMER}", f"{SID}:wants_call_back")
        assert said(intake).startswith("We will call you back on the number that you are calling from.")

    def test_whoever_is_not_shown_can_not_be_called_back(self) -> None:
        intake = to_us("choice", sample("caller-anonymous-pressed-1"), flags={"person": 1})
        assert (steps(intake), verbs(intake)) == ([], ["Say", "Redirect"])
        assert goes_to(verb(intake, "Redirect").text) == ("menu", {"call": CALL_ID, "person": "1"})
        intake = to_us("choice", sample("caller-anonymous"))
        assert (steps(intake), verbs(intake)) == ([], ["Say", "Hangup"])

    def test_with_2_a_message_may_be_left(self) -> None:
        intake = to_us("choice", sample("caller-pressed-2"))
        assert (steps(intake), verbs(intake)) == ([], ["Say", "Record", "Say", "Hangup"])
        record = verb(intake, "Record")
        assert (record.get("maxLength"), record.get("playBeep")) == ("180", "true")
        assert goes_to(record.get("action")) == ("left", {"call": CALL_ID})
        assert goes_to(record.get("recordingStatusCallback")) == ("voicemail", {"call": CALL_ID})

    def test_with_0_the_operator_and_all_who_are_at_work_are_called(self) -> None:
        intake = to_us("choice", sample("caller-pressed-0"), BUSY)
        assert (steps(intake), verbs(intake)) == (["wants_person"], ["Say", "Dial"])
        dial = verb(intake, "Dial")
        assert [number.text for number in dial] == [OPERATOR, AGENT]
        assert dial.get("timeout") == "25"
        assert goes_to(dial.get("action")) == ("menu", {"call": CALL_ID, "person": "1"})

    def test_where_nobody_is_the_menu_says_so(self) -> None:
        intake = to_us("choice", sample("caller-pressed-0"), CLOSED, gateway=voice(BARE))
        assert verbs(intake) == ["Redirect"]
        assert goes_to(verb(intake, "Redirect").text) == ("menu", {"call": CALL_ID, "person": "1"})

    @pytest.mark.parametrize(("form", "number"), [("caller-pressed-7", NUMBER), ("caller-pressed-2", BARE)])
    def test_any_other_key_leads_back(self, form: str, number: Number) -> None:
        intake = to_us("choice", sample(form), gateway=voice(number))
        assert (steps(intake), verbs(intake)) == ([], ["Redirect"])


class TestTheAgentsTelephones:
    def test_they_hear_who_calls_where_that_is_known(self) -> None:
        intake = to_us("inbound-whisper", sample("second-agent"), replace(ARRIVED, name="Ada"))
        assert said(intake).startswith("A call with Ada. Press 1")
        assert goes_to(verb(intake, "Gather").get("action"))[0] == "inbound-accept"

    @pytest.mark.parametrize("answer", [None, DOWN])
    def test_they_need_not_wait_for_core(self, answer: object) -> None:
        assert said(to_us("inbound-whisper", sample("second-agent"), answer)).startswith("A call with a customer.")

    @pytest.mark.parametrize("state", ["accepted", "connected", "ended"])
    def test_whoever_comes_too_late_hears_so(self, state: str) -> None:
        intake = to_us("inbound-whisper", sample("second-agent"), replace(ARRIVED, state=state))
        assert verbs(intake) == ["Say", "Hangup"]

    def test_the_first_who_presses_1_has_the_call(self) -> None:
        fields = sample("second-agent") | {"Digits": "1"}
        intake = to_us("inbound-accept", fields)
        assert (steps(intake), verbs(intake)) == (["accepted", "connected"], [])
        assert {(f.leg, f.address, f.external_id) for f in intake.facts if isinstance(f, CallStep)} == {
            ("agent", f"tel:{AGENT}", CHILD)
        }

    def test_a_mailbox_has_not_and_nobody_is_told(self) -> None:
        intake = to_us("inbound-accept", sample("second-agent"))
        assert (steps(intake), verbs(intake)) == ([], ["Say", "Hangup"])


class TestAMessage:
    def message(self, fact: object) -> Received:
        assert isinstance(fact, Received)
        return fact

    def test_it_is_a_voice_message_of_the_caller(self) -> None:
        intake = to_us("left", sample("left"))
        assert (verbs(intake), said(intake)) == (["Say", "Hangup"], "Thank you, we have your message. Goodbye.")
        left, message = intake.facts
        assert isinstance(left, CallStep)
        assert (left.step, left.key, left.address) == ("left_message", f"{SID}:left_message", f"tel:{CUSTOMER}")
        assert message == Received(
            at=OURS,
            key=RECORDING,
            sender=f"tel:{CUSTOMER}",
            assurance="asserted",
            parts=(Media(id="1", kind="voice", mime="audio/mpeg", state="pending", duration_ms=7000),),
            media={"1": f"https://api.twilio.com/2010-04-01/Accounts/AC{'a' * 32}/Recordings/{RECORDING}.mp3"},
            external_ids=(RECORDING,),
        )

    def test_a_proven_caller_stays_proven(self) -> None:
        assert self.message(to_us("left", sample("left"), flags={"attested": 1}).facts[1]).assurance == "channel"

    def test_whoever_is_not_shown_has_an_address_for_this_call(self) -> None:
        left, message = to_us("left", sample("left-anonymous")).facts
        assert isinstance(left, CallStep)
        assert left.address is None
        assert self.message(message).sender == f"x-twilio:{SID}"

    def test_that_the_file_is_there_is_the_same_message_again(self) -> None:
        again = to_us("voicemail", sample("recording-message"), ARRIVED)
        assert again.reply.status == 204
        assert again.facts == to_us("left", sample("left")).facts

    @pytest.mark.parametrize("view", [None, replace(ARRIVED, customer=None)])
    def test_of_a_call_that_nobody_knows_the_message_is_kept_too(self, view: CallView | None) -> None:
        facts = to_us("voicemail", sample("recording-message"), view).facts
        assert self.message(facts[1]).sender == f"x-twilio:{SID}"

    def test_where_core_can_not_be_asked_twilio_is_to_come_again(self) -> None:
        with pytest.raises(Unavailable):
            to_us("voicemail", sample("recording-message"), DOWN)

    def test_a_recording_that_came_to_nothing_is_no_message(self) -> None:
        assert to_us("voicemail", sample("recording-absent")).facts == ()

    def test_without_a_recording_nobody_is_thanked(self) -> None:
        intake = to_us("left", sample("caller"))
        assert (steps(intake), said(intake)) == ([], "We did not hear anything. Goodbye.")

    def test_a_recording_without_a_sid_of_its_own_has_that_of_its_address(self) -> None:
        fields = {name: value for name, value in sample("left").items() if name != "RecordingSid"}
        assert self.message(to_us("left", fields).facts[1]).key == RECORDING


class TestTheEnd:
    @pytest.mark.parametrize("at", [f"{HOOK}/ended", HOOK])
    def test_whoever_hung_up_is_told_with_the_id_that_the_call_began_with(self, at: str) -> None:
        intake = deliver(GATEWAY, signed(at, sample("ended")))
        assert intake.reply.status == 204
        assert first(intake) == CallStep(
            at=OURS,
            key=f"{SID}:hung_up",
            skill="orders",
            call_id=first(called("called", BUSY)).call_id,
            step="hung_up",
            leg="customer",
            external_id=SID,
            address=f"tel:{CUSTOMER}",
            duration_ms=12_000,
        )


class TestCoreCanNotBeAsked:
    def test_a_caller_waits_and_is_known_already(self) -> None:
        intake = called("called", DOWN)
        assert (steps(intake), verbs(intake)) == (["arrived"], ["Say", "Pause", "Redirect"])
        at, state = goes_to(verb(intake, "Redirect").text)
        assert (at, state) == ("", {"call": first(intake).call_id, "try": "1"})

    def test_the_next_try_is_the_same_call(self) -> None:
        url = verb(called("called", DOWN), "Redirect").text
        assert url is not None
        intake = deliver(GATEWAY, signed(url, sample("caller")), BUSY)
        assert first(intake) == first(called("called", BUSY))

    @pytest.mark.parametrize(("name", "form"), [("", "called"), ("menu", "caller"), ("choice", "caller-pressed-0")])
    def test_after_three_a_message_may_be_left(self, name: str, form: str) -> None:
        intake = to_us(name, sample(form), DOWN, flags={"try": 3})
        assert verbs(intake) == ["Say", "Record", "Say", "Hangup"]
        assert said(intake).startswith("Sorry, something does not work here. Leave us a message")

    def test_where_there_is_no_voicemail_they_hear_an_apology(self) -> None:
        intake = to_us("menu", sample("caller"), DOWN, flags={"try": 3}, gateway=voice(BARE))
        assert verbs(intake) == ["Say", "Hangup"]

    def test_that_a_person_was_asked_for_already_is_not_forgotten(self) -> None:
        intake = to_us("menu", sample("caller"), DOWN, flags={"person": 1})
        assert goes_to(verb(intake, "Redirect").text)[1]["person"] == "1"
